// Folders of made-up images for tests of whole runs.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/jpeg_encoder.h"
#include "kernels/random.h"
#include "tests/train/temporary_folder.h"

namespace thinwire {

/// Writes a file, with the folders on the way to it.
inline void WriteImageFile(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  WriteText(path, content);
}

/// Smooth colours with some noise, [height, width, 3].
inline std::vector<uint8_t> MakePixels(int64_t width, int64_t height, uint64_t seed) {
  RandomStream random(seed, 1);
  double waves[3][2];
  for (auto& wave : waves) {
    for (double& value : wave) value = 0.02 + 0.2 * random.Uniform();
  }
  std::vector<uint8_t> rgb;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (const auto& wave : waves) {
        const double value =
            std::sin(wave[0] * static_cast<double>(x)) + std::cos(wave[1] * static_cast<double>(y));
        rgb.push_back(static_cast<uint8_t>(128 + 55 * value + 10 * random.Uniform()));
      }
    }
  }
  return rgb;
}

inline std::string MakeJpeg(int64_t width, int64_t height, uint64_t seed, int orientation = 1) {
  const std::vector<uint8_t> bytes =
      CompressJpeg(MakePixels(width, height, seed), width, height, 95, orientation, "made up");
  return {bytes.begin(), bytes.end()};
}

/// One grey level, as a PNM file.
inline std::string MakeGrey(int64_t width, int64_t height, int level) {
  return "P6 " + std::to_string(width) + " " + std::to_string(height) + " 255\n" +
         std::string(static_cast<size_t>(width * height * 3), static_cast<char>(level));
}

}  // namespace thinwire
