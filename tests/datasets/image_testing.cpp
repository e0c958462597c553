#include "tests/datasets/image_testing.h"

#include <zlib.h>

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <sstream>
// clang-format off
#include <jpeglib.h>
// clang-format on

namespace thinwire {

std::vector<uint8_t> EncodeJpeg(const std::vector<uint8_t>& rgb, int64_t width, int64_t height,
                                const JpegOptions& options) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);  // ends the program, which no test expects
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = options.cmyk ? 4 : 3;
  jpeg.in_color_space = options.cmyk ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&jpeg);
  if (options.grayscale) jpeg_set_colorspace(&jpeg, JCS_GRAYSCALE);
  jpeg_set_quality(&jpeg, options.quality, TRUE);
  if (!options.cmyk) {
    jpeg.comp_info[0].h_samp_factor = options.horizontal_sampling;
    jpeg.comp_info[0].v_samp_factor = options.vertical_sampling;
  }
  jpeg.restart_interval = static_cast<unsigned>(options.restart_interval);
  if (options.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  if (options.orientation != 1) {
    const JOCTET exif[] = {'E', 'x',
                           'i', 'f',
                           0,   0,
                           'M', 'M',
                           0,   42,
                           0,   0,
                           0,   8,
                           0,   1,
                           1,   0x12,
                           0,   3,
                           0,   0,
                           0,   1,
                           0,   static_cast<JOCTET>(options.orientation),
                           0,   0,
                           0,   0,
                           0,   0};
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
  }
  std::vector<uint8_t> row(static_cast<size_t>(width * jpeg.input_components));
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t* pixel = rgb.data() + (y * width + x) * 3;
      uint8_t* into = row.data() + x * jpeg.input_components;
      std::copy(pixel, pixel + 3, into);
      if (options.cmyk) into[3] = 255;  // no black, stored inverted
    }
    JSAMPROW rows = row.data();
    jpeg_write_scanlines(&jpeg, &rows, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::vector<uint8_t> bytes(memory, memory + size);
  std::free(memory);
  return bytes;
}

std::vector<uint8_t> EncodeBmp(const std::vector<uint8_t>& rgb, int64_t width, int64_t height) {
  std::vector<uint8_t> bytes = {'B', 'M'};
  const auto append = [&](int64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
  };
  const int64_t stride = (3 * width + 3) / 4 * 4;
  for (const int64_t value :
       {54 + stride * height, int64_t{0}, int64_t{54}, int64_t{40}, width, height}) {
    append(value, 4);
  }
  append(1, 2);
  append(24, 2);
  for (int i = 0; i < 6; ++i) append(0, 4);
  for (int64_t y = height - 1; y >= 0; --y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int c = 2; c >= 0; --c)
        bytes.push_back(rgb[static_cast<size_t>((y * width + x) * 3 + c)]);
    }
    append(0, static_cast<int>(stride - 3 * width));
  }
  return bytes;
}

std::vector<uint8_t> EncodePng(const std::vector<uint8_t>& rgb, int64_t width, int64_t height) {
  std::vector<uint8_t> bytes = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const auto append = [](std::vector<uint8_t>& to, uint64_t value) {
    for (int i = 3; i >= 0; --i) to.push_back(static_cast<uint8_t>(value >> 8 * i));
  };
  const auto chunk = [&](const char* type, const std::vector<uint8_t>& content) {
    append(bytes, content.size());
    std::vector<uint8_t> body(type, type + 4);
    body.insert(body.end(), content.begin(), content.end());
    bytes.insert(bytes.end(), body.begin(), body.end());
    append(bytes, crc32(0, body.data(), static_cast<uInt>(body.size())));
  };
  std::vector<uint8_t> header;
  append(header, static_cast<uint64_t>(width));
  append(header, static_cast<uint64_t>(height));
  header.insert(header.end(), {8, 2, 0, 0, 0});
  chunk("IHDR", header);
  std::vector<uint8_t> rows;
  for (int64_t y = 0; y < height; ++y) {
    rows.push_back(0);
    rows.insert(rows.end(), rgb.begin() + y * width * 3, rgb.begin() + (y + 1) * width * 3);
  }
  uLongf size = compressBound(rows.size());
  std::vector<uint8_t> packed(size);
  EXPECT_EQ(compress(packed.data(), &size, rows.data(), rows.size()), Z_OK);
  packed.resize(size);
  chunk("IDAT", packed);
  chunk("IEND", {});
  return bytes;
}

std::vector<uint8_t> ReadBytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void RealImages::SetUp() {
  const char* root = std::getenv("THINWIRE_TEST_DATA");
  if (root == nullptr) GTEST_SKIP() << "THINWIRE_TEST_DATA does not name a folder of data sets";
  folder_ = std::filesystem::path(root) / "imagenet-sample";
  if (!std::filesystem::is_directory(folder_)) GTEST_SKIP() << "there is no folder " << folder_;
}

std::vector<std::map<std::string, std::string>> RealImages::Manifest(
    const std::string& folder) const {
  std::ifstream file(folder_ / folder / "manifest.tsv");
  const auto split = [](const std::string& line) {
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
    return fields;
  };
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> names = split(line);
  std::vector<std::map<std::string, std::string>> rows;
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = split(line);
    auto& row = rows.emplace_back();
    for (size_t i = 0; i < names.size(); ++i) row[names[i]] = fields.at(i);
  }
  return rows;
}

}  // namespace thinwire
