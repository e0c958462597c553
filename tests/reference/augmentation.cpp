#include "tests/reference/augmentation.h"

namespace thinwire::reference {

std::vector<float> NormalizationTable(std::span<const float> mean,
                                      std::span<const float> deviation) {
  std::vector<float> table;
  for (size_t c = 0; c < mean.size(); ++c) {
    for (int byte = 0; byte < kByteValues; ++byte) {
      table.push_back(static_cast<float>((byte / 255.0 - mean[c]) / deviation[c]));
    }
  }
  return table;
}

std::vector<float> Augment(const AugmentationShape& s, std::span<const float> mean,
                           std::span<const float> deviation, const Augmentation& augmentation,
                           std::span<const uint8_t> image) {
  std::vector<float> output;
  for (int64_t y = 0; y < s.height; ++y) {
    for (int64_t x = 0; x < s.width; ++x) {
      for (int64_t c = 0; c < s.channels; ++c) {
        const int64_t from_y = y + augmentation.shift_y;
        const int64_t from_x =
            (augmentation.flip != 0 ? s.width - 1 - x : x) + augmentation.shift_x;
        const bool inside = from_y >= 0 && from_y < s.height && from_x >= 0 && from_x < s.width;
        const double pixel =
            inside ? image[static_cast<size_t>((from_y * s.width + from_x) * s.channels + c)] : 0;
        const int64_t top = augmentation.cutout_y - s.cutout / 2;
        const int64_t left = augmentation.cutout_x - s.cutout / 2;
        const bool cut = y >= top && y < top + s.cutout && x >= left && x < left + s.cutout;
        const auto channel = static_cast<size_t>(c);
        output.push_back(
            cut ? 0.0f : static_cast<float>((pixel / 255 - mean[channel]) / deviation[channel]));
      }
    }
  }
  return output;
}

}  // namespace thinwire::reference
