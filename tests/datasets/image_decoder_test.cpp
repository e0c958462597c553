#include "datasets/image_decoder.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
// clang-format off
#include <jpeglib.h>
// clang-format on

#include "datasets/jpeg_decoder.h"
#include "kernels/random.h"
#include "tests/datasets/image_testing.h"

namespace thinwire {
namespace {

using Bytes = std::vector<uint8_t>;

DecodedImage Decode(const Bytes& bytes) { return DecodeImage(bytes, "picture"); }

int LargestDifference(const Bytes& a, const Bytes& b) {
  EXPECT_EQ(a.size(), b.size());
  int largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

double MeanDifference(const Bytes& a, const Bytes& b) {
  EXPECT_EQ(a.size(), b.size());
  double sum = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) sum += std::abs(a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

/// Decodes parts of an image: the same pixels as in the whole.
void ExpectPartsOfTheWhole(const Bytes& bytes, const std::string& name, int reduction,
                           uint64_t seed, int count) {
  const DecodedImage whole = DecodeImage(bytes, name, {.reduction = reduction});
  RandomStream random(seed, 2);
  const auto below = [&](int64_t bound) {
    return int64_t{random.Below(static_cast<uint32_t>(bound))};
  };
  for (int i = 0; i < count; ++i) {
    ImageRegion wanted;
    wanted.width = 1 + below(whole.full_width);
    wanted.height = 1 + below(whole.full_height);
    wanted.left = below(whole.full_width - wanted.width + 1);
    wanted.top = below(whole.full_height - wanted.height + 1);
    const DecodedImage image = DecodeImage(bytes, name, {reduction, wanted});
    ASSERT_EQ(image.full_width, whole.full_width);
    ASSERT_EQ(image.full_height, whole.full_height);
    const ImageRegion& part = image.part;
    ASSERT_TRUE(part.left <= wanted.left && part.top <= wanted.top &&
                part.left + part.width >= wanted.left + wanted.width &&
                part.top + part.height >= wanted.top + wanted.height)
        << name;
    ASSERT_EQ(std::ssize(image.pixels), part.width * part.height * 3);
    for (int64_t y = wanted.top; y < wanted.top + wanted.height; ++y) {
      const uint8_t* expected = whole.pixels.data() + (y * whole.full_width + wanted.left) * 3;
      const uint8_t* actual =
          image.pixels.data() + ((y - part.top) * part.width + wanted.left - part.left) * 3;
      ASSERT_TRUE(std::equal(actual, actual + wanted.width * 3, expected))
          << name << " 1/" << reduction << ": row " << y << " of columns " << wanted.left << "+"
          << wanted.width << ", rows " << wanted.top << "+" << wanted.height << " of "
          << whole.full_width << "x" << whole.full_height;
    }
  }
}

TEST(ImageDecoder, LosslessFormatsGiveBackWhatWasEncoded) {
  for (const int64_t width : {1, 2, 3, 5, 31, 64}) {
    for (const int64_t height : {1, 7, 32}) {
      const Bytes rgb = MakePicture(width, height);
      for (const Bytes& bytes : {EncodePng(rgb, width, height), EncodeBmp(rgb, width, height)}) {
        const DecodedImage image = Decode(bytes);
        EXPECT_EQ(image.full_width, width);
        EXPECT_EQ(image.full_height, height);
        EXPECT_EQ(image.part, (ImageRegion{0, 0, width, height}));
        EXPECT_EQ(image.pixels, rgb);
      }
      std::string header = "P6 " + std::to_string(width) + " " + std::to_string(height) + " 255\n";
      Bytes pnm(header.begin(), header.end());
      pnm.insert(pnm.end(), rgb.begin(), rgb.end());
      EXPECT_EQ(Decode(pnm).pixels, rgb);
    }
  }
}

std::vector<JpegOptions> JpegKinds() {
  std::vector<JpegOptions> kinds;
  for (const bool progressive : {false, true}) {
    for (const auto& [horizontal, vertical] :
         {std::pair(1, 1), {2, 1}, {1, 2}, {2, 2}, {4, 1}, {4, 2}, {1, 4}}) {
      kinds.push_back({.horizontal_sampling = horizontal,
                       .vertical_sampling = vertical,
                       .progressive = progressive});
    }
    kinds.push_back({.progressive = progressive, .grayscale = true});
    kinds.push_back({.progressive = progressive, .cmyk = true});
    kinds.push_back({.progressive = progressive, .restart_interval = 3});
  }
  return kinds;
}

TEST(ImageDecoder, EveryKindOfJpegComesNearWhatWasEncoded) {
  for (JpegOptions options : JpegKinds()) {
    options.quality = 98;
    for (const auto& [width, height] : {std::pair<int64_t, int64_t>(1, 1), {17, 9}, {150, 203}}) {
      Bytes rgb = MakePicture(width, height);
      const DecodedImage image = Decode(EncodeJpeg(rgb, width, height, options));
      ASSERT_EQ(image.full_width, width);
      ASSERT_EQ(image.full_height, height);
      if (options.grayscale) {
        for (size_t i = 0; i < rgb.size(); i += 3) {
          const double luma = 0.299 * rgb[i] + 0.587 * rgb[i + 1] + 0.114 * rgb[i + 2];
          std::fill_n(rgb.begin() + static_cast<int64_t>(i), 3, std::lround(luma));
        }
      }
      EXPECT_LE(MeanDifference(image.pixels, rgb), 5)
          << options.horizontal_sampling << "x" << options.vertical_sampling;
    }
  }
}

TEST(ImageDecoder, PartsOfEveryKindOfJpegAreThoseOfTheWhole) {
  for (const JpegOptions& options : JpegKinds()) {
    const Bytes bytes = EncodeJpeg(MakePicture(203, 150), 203, 150, options);
    for (const int reduction : {1, 2, 4, 8}) {
      ExpectPartsOfTheWhole(bytes,
                            (options.progressive ? "progressive " : "baseline ") +
                                std::to_string(options.horizontal_sampling) + "x" +
                                std::to_string(options.vertical_sampling),
                            reduction, static_cast<uint64_t>(reduction), 20);
    }
  }
}

TEST(ImageDecoder, AReducedJpegIsTheMeanOfItsPixels) {
  const int64_t width = 160, height = 96;
  const Bytes rgb = MakePicture(width, height);
  const Bytes bytes = EncodeJpeg(rgb, width, height,
                                 {.quality = 98, .horizontal_sampling = 1, .vertical_sampling = 1});
  for (const int reduction : {2, 4, 8}) {
    const DecodedImage image = DecodeImage(bytes, "picture", {.reduction = reduction});
    ASSERT_EQ(image.full_width, width / reduction);
    ASSERT_EQ(image.full_height, height / reduction);
    Bytes means;
    for (int64_t y = 0; y < image.full_height; ++y) {
      for (int64_t x = 0; x < 3 * image.full_width; ++x) {
        int sum = 0;
        for (int64_t i = 0; i < reduction * reduction; ++i) {
          const int64_t row = y * reduction + i / reduction;
          const int64_t column = x / 3 * reduction + i % reduction;
          sum += rgb[static_cast<size_t>((row * width + column) * 3 + x % 3)];
        }
        means.push_back(static_cast<uint8_t>(sum / (reduction * reduction)));
      }
    }
    EXPECT_LE(MeanDifference(image.pixels, means), 4) << reduction;
  }
  EXPECT_EQ(DecodeImage(EncodeJpeg(rgb, 159, 95), "picture", {.reduction = 8}).full_width, 20);
}

TEST(ImageDecoder, ReadsTheExifOrientation) {
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Bytes bytes = EncodeJpeg(MakePicture(20, 10), 20, 10, {.orientation = orientation});
    const ImageHeader header = ReadImageHeader(bytes, "picture");
    EXPECT_EQ(header.orientation, orientation);
    EXPECT_EQ(header.width, 20);
    EXPECT_EQ(header.height, 10);
  }
  const Bytes little = {'E', 'x', 'i',  'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0,
                        1,   0,   0x12, 1,   3, 0, 1,   0,   0,  0, 6, 0, 0, 0};
  EXPECT_EQ(ParseExifOrientation(little), 6);
  for (size_t size = 0; size < little.size(); ++size) {
    EXPECT_EQ(ParseExifOrientation(std::span(little).first(size)), 1) << size;
  }
}

TEST(ImageDecoder, RefusesWhatIsNoImage) {
  const auto refused = [](const std::string& text, const std::string& reason) {
    const Bytes bytes(text.begin(), text.end());
    ExpectError([&] { DecodeImage(bytes, "some/file.JPEG"); },
                {"some/file.JPEG", reason, "--on-bad-image skip"});
    ExpectError([&] { ReadImageHeader(bytes, "some/file.JPEG"); }, {"some/file.JPEG", reason});
  };
  refused("", "it is empty");
  refused("hello", "it is no JPEG, PNG, BMP, GIF or PNM image");
  refused("<html>", "web page");
  refused("RIFF1234WEBPVP8 ", "WebP");
  refused("II*", "TIFF");
  refused("\xff\xd8", "end early");
  refused("\xff\xd8\xff\xd9", "cannot decode");
  refused("BM", "cannot decode");
  refused("\x89PNG\r\n\x1a\n", "cannot decode");
  refused("P6 99999999999 2 255\n", "promises more than any image has");
  refused("P5\n# 1\n2 99999999999 255\n", "promises more than any image has");
}

TEST(ImageDecoder, RefusesWhatIsCutOff) {
  const Bytes rgb = MakePicture(64, 48);
  JpegOptions progressive{.progressive = true};
  const std::string header = "P6\n# a comment\n64 48\n255\n";
  Bytes pnm(header.begin(), header.end());
  pnm.insert(pnm.end(), rgb.begin(), rgb.end());
  for (const Bytes& bytes : {EncodeJpeg(rgb, 64, 48), EncodeJpeg(rgb, 64, 48, progressive),
                             EncodePng(rgb, 64, 48), EncodeBmp(rgb, 64, 48), pnm}) {
    Decode(bytes);
    for (size_t size = 0; size + 8 < bytes.size(); size += 1 + bytes.size() / 97) {
      const Bytes part(bytes.begin(), bytes.begin() + static_cast<int64_t>(size));
      ExpectError([&] { Decode(part); }, {"picture"});
    }
  }
}

TEST(ImageDecoder, RefusesDamage) {
  const Bytes rgb = MakePicture(200, 100);
  Bytes png = EncodePng(rgb, 200, 100);
  png[png.size() / 2] ^= 1;
  ExpectError([&] { Decode(png); }, {"a checksum in it is wrong"});

  const std::string deep = "P5 2 2 65535\n12345678";
  ExpectError([&] { Decode(Bytes(deep.begin(), deep.end())); }, {"not of 8 bits"});

  Bytes jpeg = EncodeJpeg(rgb, 200, 100);
  std::fill(jpeg.begin() + std::ssize(jpeg) / 2, jpeg.end() - 2, 0xFF);
  ExpectError([&] { Decode(jpeg); }, {"picture"});
}

TEST(ImageDecoder, RefusesMorePixelsThanAllowedBeforeMakingThem) {
  const Bytes rgb = MakePicture(64, 48);
  for (const Bytes& bytes : {EncodeJpeg(rgb, 64, 48), EncodePng(rgb, 64, 48)}) {
    DecodeImage(bytes, "picture", {}, 64 * 48);
    ExpectError([&] { DecodeImage(bytes, "picture", {}, 64 * 48 - 1); },
                {"picture", "64x48", "--max-pixels 3071"});
  }
  Bytes bomb = EncodeJpeg(rgb, 64, 48);
  const Bytes frame = {0xFF, 0xC0};
  const auto at = std::search(bomb.begin(), bomb.end(), frame.begin(), frame.end());
  std::fill(at + 5, at + 9, 0xFE);
  ExpectError([&] { Decode(bomb); }, {"65278x65278", "--max-pixels"});
}

class RealImageDecoding : public RealImages {
 protected:
  void ExpectManifest(const std::string& folder, size_t count) {
    const auto rows = Manifest(folder);
    ASSERT_EQ(rows.size(), count);
    size_t same = 0;
    for (const auto& row : rows) {
      const Bytes bytes = ReadBytes(folder_ / folder / row.at("path"));
      const ImageHeader header = ReadImageHeader(bytes, row.at("path"));
      const DecodedImage image = DecodeImage(bytes, row.at("path"));
      const int64_t pixels = image.full_width * image.full_height;
      EXPECT_EQ(std::to_string(image.full_width), row.at("width")) << row.at("path");
      EXPECT_EQ(std::to_string(image.full_height), row.at("height")) << row.at("path");
      const std::string orientation = row.at("exif_orientation");
      EXPECT_EQ(header.orientation, orientation == "-" ? 1 : std::max(1, std::stoi(orientation)));
      for (size_t c = 0; c < 3; ++c) {
        double sum = 0;
        for (size_t i = c; i < image.pixels.size(); i += 3) sum += image.pixels[i];
        const std::string column = std::string("mean_") + "RGB"[c];
        EXPECT_NEAR(sum / static_cast<double>(pixels), std::stod(row.at(column)), 0.5)
            << row.at("path");
      }
      const uLong checksum = crc32(0, image.pixels.data(), static_cast<uInt>(image.pixels.size()));
      same += checksum == std::stoul(row.at("crc32_of_decoded_rgb"), nullptr, 16);
    }
    RecordProperty("same_checksum", static_cast<int>(same));
    if (LIBJPEG_TURBO_VERSION_NUMBER == 2001005) {  // the manifest's decoder; others may round
      EXPECT_EQ(same, count);
    }
  }
};

TEST_F(RealImageDecoding, FullSizeSample) { ExpectManifest("imagenet-sample", 300); }

TEST_F(RealImageDecoding, SmallSample) { ExpectManifest("imagenette-sample", 400); }

TEST_F(RealImageDecoding, PartsAreThoseOfTheWhole) {
  uint64_t seed = 0;
  for (const auto& row : Manifest("imagenet-sample")) {
    if (++seed % 10 != 0) continue;
    const std::string path = row.at("path");
    const Bytes bytes = ReadBytes(folder_ / "imagenet-sample" / path);
    for (const int reduction : {1, 2, 4}) ExpectPartsOfTheWhole(bytes, path, reduction, seed, 4);
  }
}

TEST_F(RealImageDecoding, EdgeCases) {
  int count = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(folder_ / "jpeg-edge-cases")) {
    if (entry.path().extension() != ".jpg") continue;
    ++count;
    const std::string name = entry.path().string();
    std::filesystem::path reference = entry.path();
    const DecodedImage image = DecodeImage(ReadBytes(entry.path()), name);
    const DecodedImage expected = DecodeImage(ReadBytes(reference.replace_extension("png")), name);
    EXPECT_LE(LargestDifference(image.pixels, expected.pixels), 3) << name;
    for (const int reduction : {1, 2, 8}) {
      if (ReadImageHeader(ReadBytes(entry.path()), name).format != ImageFormat::kJpeg) break;
      ExpectPartsOfTheWhole(ReadBytes(entry.path()), name, reduction, 3, 6);
    }
  }
  EXPECT_EQ(count, 37);
}

}  // namespace
}  // namespace thinwire
