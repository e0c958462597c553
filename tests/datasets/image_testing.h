// Images for tests: encoded, and real ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/datasets/testing.h"
#include "tests/picture.h"

namespace thinwire {

struct JpegOptions {
  int quality = 90;
  int horizontal_sampling = 2, vertical_sampling = 2;  // of luma against chroma
  bool progressive = false, grayscale = false, cmyk = false;
  int restart_interval = 0;
  int orientation = 1;  // in an Exif segment unless 1
};
std::vector<uint8_t> EncodeJpeg(const std::vector<uint8_t>& rgb, int64_t width, int64_t height,
                                const JpegOptions& options = {});
/// Uncompressed, bottom row first, as usual.
std::vector<uint8_t> EncodeBmp(const std::vector<uint8_t>& rgb, int64_t width, int64_t height);
/// Filter 0 in every row.
std::vector<uint8_t> EncodePng(const std::vector<uint8_t>& rgb, int64_t width, int64_t height);

std::vector<uint8_t> ReadBytes(const std::filesystem::path& path);

/// A folder of real images, which the environment variable THINWIRE_TEST_DATA leads to; tests skip
/// without.
class RealImages : public ::testing::Test {
 protected:
  void SetUp() override;
  /// Rows of a folder's manifest.tsv by its first line's names.
  std::vector<std::map<std::string, std::string>> Manifest(const std::string& folder) const;
  std::filesystem::path folder_;
};

}  // namespace thinwire
