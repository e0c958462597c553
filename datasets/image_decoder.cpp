#include "datasets/image_decoder.h"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <cassert>
#include <cctype>
#include <climits>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "datasets/jpeg_decoder.h"
#include "datasets/stb_image_settings.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int kChannels = 3;
constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";

struct FreeStb {
  void operator()(void* pixels) const { stbi_image_free(pixels); }
};

bool BeginsWith(std::span<const uint8_t> bytes, std::string_view text) {
  return bytes.size() >= text.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), text.size()) == text;
}

/// What bytes are that are no image to us, as far as one can tell.
std::string_view Describe(std::span<const uint8_t> bytes) {
  if (BeginsWith(bytes, "RIFF") && bytes.size() >= 12 && BeginsWith(bytes.subspan(8), "WEBP")) {
    return "it is WebP, which is not supported";
  }
  if (BeginsWith(bytes, "II*") || BeginsWith(bytes, "MM")) {
    return "it looks like TIFF, which is not supported";
  }
  if (BeginsWith(bytes, "<")) return "it is a web page or other text";
  return "it is no JPEG, PNG, BMP, GIF or PNM image";
}

ImageFormat DetectFormat(std::span<const uint8_t> bytes, const std::string& name) {
  if (bytes.empty()) FailDecoding(name, "it is empty");
  if (BeginsWith(bytes, "\xff\xd8")) return ImageFormat::kJpeg;
  if (BeginsWith(bytes, kPngSignature)) return ImageFormat::kPng;
  if (BeginsWith(bytes, "GIF8")) return ImageFormat::kGif;
  if (BeginsWith(bytes, "BM")) return ImageFormat::kBmp;
  if (BeginsWith(bytes, "P5") || BeginsWith(bytes, "P6")) return ImageFormat::kPnm;
  FailDecoding(name, std::string(Describe(bytes)));
}

/// stb_image takes no notice of PNG's checksums.
void CheckPng(std::span<const uint8_t> bytes, const std::string& name) {
  const auto number = [&](size_t at) {
    return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 |
           uint32_t{bytes[at + 2]} << 8 | uint32_t{bytes[at + 3]};
  };
  size_t at = kPngSignature.size();
  while (true) {
    // Length, type, content, checksum of type and content.
    if (bytes.size() - at < 12 || bytes.size() - at - 12 < number(at)) {
      FailDecoding(name, "its data end early");
    }
    const uint32_t length = number(at);
    const uLong checksum = crc32(crc32(0, nullptr, 0), bytes.data() + at + 4, length + 4);
    if (checksum != number(at + 8 + length)) FailDecoding(name, "a checksum in it is wrong");
    if (BeginsWith(bytes.subspan(at + 4), "IEND")) return;
    at += size_t{length} + 12;
  }
}

/// stb_image reads zeros behind the end of a BMP file.
void CheckBmp(std::span<const uint8_t> bytes, const std::string& name, int64_t width,
              int64_t height) {
  const auto number = [&](size_t at, size_t count) {
    int64_t value = 0;
    for (size_t i = 0; i < count; ++i) value |= int64_t{bytes[at + i]} << 8 * i;
    return value;
  };
  if (bytes.size() < 30) FailDecoding(name, "its data end early");
  const bool old = number(14, 4) == 12;
  const int64_t bits = number(old ? 24 : 28, 2);
  const int64_t row_bytes = (width * bits + 31) / 32 * 4;
  if (number(10, 4) + row_bytes * height > std::ssize(bytes)) {
    FailDecoding(name, "its data end early");
  }
}

struct PnmHeader {
  std::array<int64_t, 3> numbers = {};  // width, height and largest value
  size_t pixels_at = 0;
};

/// Reads it as stb_image does, whose numbers may overflow.
PnmHeader ReadPnmHeader(std::span<const uint8_t> bytes, const std::string& name) {
  constexpr int64_t kMost = 1 << 24;  // stb_image's limit on a side
  PnmHeader header;
  size_t at = 2;  // kind, numbers set apart by white space and comments, one more white space
  for (int64_t& number : header.numbers) {
    while (at < bytes.size() && (std::isspace(bytes[at]) != 0 || bytes[at] == '#')) {
      if (bytes[at] == '#') {
        while (at < bytes.size() && bytes[at] != '\n' && bytes[at] != '\r') ++at;
      } else {
        ++at;
      }
    }
    for (; at < bytes.size() && std::isdigit(bytes[at]) != 0; ++at) {
      number = number * 10 + (bytes[at] - '0');
      if (number > kMost) FailDecoding(name, "it promises more than any image has");
    }
  }
  header.pixels_at = at + 1;
  return header;
}

/// stb_image does not miss rows of a PNM file, and reads behind the pixels of those that have two
/// bytes a value.
void CheckPnm(std::span<const uint8_t> bytes, const std::string& name) {
  const auto [numbers, pixels_at] = ReadPnmHeader(bytes, name);
  const auto [width, height, largest] = numbers;
  if (largest < 1 || largest > 255) FailDecoding(name, "its values are not of 8 bits");
  const int64_t pixel_bytes = bytes[1] == '6' ? 3 : 1;
  if (static_cast<int64_t>(pixels_at) + width * height * pixel_bytes > std::ssize(bytes)) {
    FailDecoding(name, "its data end early");
  }
}

void CheckComplete(const ImageHeader& header, std::span<const uint8_t> bytes,
                   const std::string& name) {
  switch (header.format) {
    case ImageFormat::kPng:
      return CheckPng(bytes, name);
    case ImageFormat::kBmp:
      return CheckBmp(bytes, name, header.width, header.height);
    case ImageFormat::kGif:
      if (bytes.back() != ';' && bytes.back() != 0) FailDecoding(name, "its data end early");
      return;
    case ImageFormat::kPnm:
      return CheckPnm(bytes, name);
    case ImageFormat::kJpeg:
      return;
  }
}

const char* StbProblem() {
  const char* reason = stbi_failure_reason();
  return reason != nullptr ? reason : "it does not decode";
}

int CheckedSize(std::span<const uint8_t> bytes, const std::string& name) {
  if (bytes.size() > INT_MAX) FailDecoding(name, "it is larger than 2 GiB");
  return static_cast<int>(bytes.size());
}

/// All formats but JPEG.
class StbReader final : public ImageReader {
 public:
  StbReader(std::span<const uint8_t> bytes, const std::string& name, ImageFormat format)
      : bytes_(bytes), name_(name) {
    if (format == ImageFormat::kPnm) ReadPnmHeader(bytes, name);
    int width = 0, height = 0, channels = 0;
    if (stbi_info_from_memory(bytes.data(), CheckedSize(bytes, name), &width, &height, &channels) ==
        0) {
      FailDecoding(name, StbProblem());
    }
    // A negative height: a BMP's rows from the top.
    header_ = {.format = format, .width = width, .height = std::abs(int64_t{height})};
  }

  void Decode(int reduction, const ImageRegion& region, const RowSink& sink) override {
    assert(reduction == 1);
    static_cast<void>(reduction);
    CheckComplete(header_, bytes_, name_);
    int width = 0, height = 0, channels = 0;
    const std::unique_ptr<uint8_t, FreeStb> pixels(stbi_load_from_memory(
        bytes_.data(), CheckedSize(bytes_, name_), &width, &height, &channels, kChannels));
    if (!pixels) FailDecoding(name_, StbProblem());
    if (width != header_.width || height != header_.height) {
      FailDecoding(name_, "its size is not what its header says");
    }
    for (int64_t y = region.top; y < region.top + region.height; ++y) {
      sink(pixels.get() + (y * width + region.left) * kChannels);
    }
  }

 private:
  std::span<const uint8_t> bytes_;
  std::string name_;
};

}  // namespace

void FailDecoding(const std::string& name, const std::string& problem) {
  throw Error(fmt::format("cannot decode the image {}: {}", name, problem),
              "replace or remove it, or go on without it by --on-bad-image skip");
}

std::unique_ptr<ImageReader> OpenImage(std::span<const uint8_t> bytes, const std::string& name,
                                       int64_t max_pixels) {
  const ImageFormat format = DetectFormat(bytes, name);
  std::unique_ptr<ImageReader> reader;
  if (format == ImageFormat::kJpeg) {
    reader = OpenJpeg(bytes, name);
  } else {
    reader = std::make_unique<StbReader>(bytes, name, format);
  }
  const ImageHeader& header = reader->header();
  if (header.width <= 0 || header.height <= 0) FailDecoding(name, "it has no pixels");
  if (header.width > max_pixels / header.height) {
    FailDecoding(name, fmt::format("its {}x{} pixels are more than --max-pixels {}", header.width,
                                   header.height, max_pixels));
  }
  return reader;
}

ImageHeader ReadImageHeader(std::span<const uint8_t> bytes, const std::string& name,
                            int64_t max_pixels) {
  return OpenImage(bytes, name, max_pixels)->header();
}

DecodedImage DecodeImage(std::span<const uint8_t> bytes, const std::string& name,
                         const DecodeOptions& options, int64_t max_pixels) {
  const std::unique_ptr<ImageReader> reader = OpenImage(bytes, name, max_pixels);
  const ImageHeader& header = reader->header();
  const int reduction = header.format == ImageFormat::kJpeg ? options.reduction : 1;
  DecodedImage image{.full_width = (header.width + reduction - 1) / reduction,
                     .full_height = (header.height + reduction - 1) / reduction};
  image.part = options.region.value_or(ImageRegion{0, 0, image.full_width, image.full_height});
  image.pixels.reserve(static_cast<size_t>(image.part.width * image.part.height * kChannels));
  reader->Decode(reduction, image.part, [&image](const uint8_t* pixels) {
    image.pixels.insert(image.pixels.end(), pixels, pixels + image.part.width * kChannels);
  });
  return image;
}

}  // namespace thinwire
