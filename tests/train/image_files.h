// Folders of made-up images for tests of whole runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/jpeg_encoder.h"
#include "tests/picture.h"
#include "tests/train/temporary_folder.h"

namespace thinwire {

/// Writes a file, with the folders on the way to it.
inline void WriteImageFile(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  WriteText(path, content);
}

inline std::string MakeJpeg(int64_t width, int64_t height, uint64_t seed, int orientation = 1) {
  const std::vector<uint8_t> bytes =
      CompressJpeg(MakePicture(width, height, seed), width, height, 95, orientation, "made up");
  return {bytes.begin(), bytes.end()};
}

/// One grey level, as a PNM file.
inline std::string MakeGrey(int64_t width, int64_t height, int level) {
  return "P6 " + std::to_string(width) + " " + std::to_string(height) + " 255\n" +
         std::string(static_cast<size_t>(width * height * 3), static_cast<char>(level));
}

}  // namespace thinwire
