// A picture for tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/random.h"

namespace thinwire {

/// Smooth colours with some noise, [height, width, 3].
inline std::vector<uint8_t> MakePicture(int64_t width, int64_t height, uint64_t seed = 0) {
  RandomStream random(seed, 1);
  double waves[3][3];
  for (auto& wave : waves) {
    for (double& value : wave) value = 0.02 + 0.2 * random.Uniform();
  }
  std::vector<uint8_t> rgb;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (const auto& wave : waves) {
        const double value = std::sin(wave[0] * static_cast<double>(x)) +
                             std::cos(wave[1] * static_cast<double>(y) + 10 * wave[2]);
        rgb.push_back(static_cast<uint8_t>(128 + 55 * value + 10 * random.Uniform()));
      }
    }
  }
  return rgb;
}

}  // namespace thinwire
