#include "tests/reference/resample.h"

#include <algorithm>
#include <cmath>

namespace thinwire::reference {
namespace {

double Triangle(double output, double scale, double input) {
  const double reach = std::max(scale, 1.0);
  return std::max(0.0, 1 - std::abs(input + 0.5 - (output + 0.5) * scale) / reach);
}

}  // namespace

std::vector<double> Resample(const std::vector<uint8_t>& image, int64_t image_width, int64_t left,
                             int64_t top, int64_t right, int64_t bottom, int64_t width,
                             int64_t height) {
  const double x_scale = static_cast<double>(right - left) / static_cast<double>(width);
  const double y_scale = static_cast<double>(bottom - top) / static_cast<double>(height);
  std::vector<double> result;
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      double sums[3] = {}, total = 0;
      for (int64_t row = 0; row < bottom - top; ++row) {
        const double row_weight =
            Triangle(static_cast<double>(y), y_scale, static_cast<double>(row));
        if (row_weight == 0) continue;
        for (int64_t column = 0; column < right - left; ++column) {
          const double weight =
              row_weight * Triangle(static_cast<double>(x), x_scale, static_cast<double>(column));
          if (weight == 0) continue;
          total += weight;
          const int64_t pixel = (top + row) * image_width + left + column;
          for (int64_t c = 0; c < 3; ++c) {
            sums[c] += weight * image[static_cast<size_t>(pixel * 3 + c)];
          }
        }
      }
      for (const double sum : sums) result.push_back(sum / total);
    }
  }
  return result;
}

}  // namespace thinwire::reference
