#include "kernels/cpu/augmentation.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

constexpr int64_t kAnyChannels = 0;

template <int64_t kChannels>
void CropRows(const AugmentationShape& s, const float* table, const Augmentation& augmentation,
              const uint8_t* image, float* output) {
  const int64_t channels = kChannels == kAnyChannels ? s.channels : kChannels;
  // Output columns [first, last), before the flip, that lie in the image.
  const int64_t first = std::clamp<int64_t>(-augmentation.shift_x, 0, s.width);
  const int64_t last = std::clamp<int64_t>(s.width - augmentation.shift_x, first, s.width);
  const int64_t step = augmentation.flip ? -channels : channels;

  for (int64_t y = 0; y < s.height; ++y) {
    float* const row = output + y * s.width * channels;
    int64_t at = augmentation.flip ? (s.width - 1) * channels : 0;  // where in the row to write
    const auto blacken = [&](int64_t count) {
      for (int64_t x = 0; x < count; ++x, at += step) {
        for (int64_t c = 0; c < channels; ++c) row[at + c] = table[c * kByteValues];
      }
    };
    const int64_t source_y = y + augmentation.shift_y;
    if (source_y < 0 || source_y >= s.height) {
      blacken(s.width);
      continue;
    }
    blacken(first);
    const uint8_t* source = image + (source_y * s.width + first + augmentation.shift_x) * channels;
    for (int64_t x = first; x < last; ++x, at += step, source += channels) {
      for (int64_t c = 0; c < channels; ++c) row[at + c] = table[c * kByteValues + source[c]];
    }
    blacken(s.width - last);
  }
}

class CpuAugmentation : public ImageAugmentation {
 public:
  CpuAugmentation(const AugmentationShape& shape, std::span<const float> table)
      : shape_(shape), table_(table.begin(), table.end()) {}

  void Run(ConstView images, ConstView augmentations, View output) override {
    const int64_t size = shape_.image_size(), rows = images.size / size;
    assert(rows <= shape_.batch && output.size == shape_.batch * size);
    const auto* const all = static_cast<const Augmentation*>(augmentations.data);
    const auto augment = [&](int64_t i, float* to) {
      if (i >= rows) {
        std::fill_n(to, size, 0.0f);
      } else {
        cpu::Augment(shape_, table_.data(), all[i], images.as<uint8_t>() + i * size, to);
      }
    };
    cpu::ParallelChunks(shape_.batch, [&](int64_t i) {
      if (output.type == DataType::kBFloat16) {
        std::vector<float> image(static_cast<size_t>(size));
        augment(i, image.data());
        cpu::Round(image.data(), output.as<BFloat16>() + i * size, size);
      } else {
        augment(i, output.as<float>() + i * size);
      }
    });
  }

 private:
  const AugmentationShape shape_;
  const std::vector<float> table_;
};

}  // namespace

void cpu::Augment(const AugmentationShape& s, const float* table, const Augmentation& augmentation,
                  const uint8_t* image, float* output) {
  switch (s.channels) {
    case 1:
      CropRows<1>(s, table, augmentation, image, output);
      break;
    case 3:
      CropRows<3>(s, table, augmentation, image, output);
      break;
    default:
      CropRows<kAnyChannels>(s, table, augmentation, image, output);
  }
  if (s.cutout == 0) return;
  const auto begin = [&](int64_t centre) { return std::max<int64_t>(centre - s.cutout / 2, 0); };
  const auto end = [&](int64_t centre, int64_t size) {
    return std::min(centre - s.cutout / 2 + s.cutout, size);
  };
  const int64_t left = begin(augmentation.cutout_x), right = end(augmentation.cutout_x, s.width);
  for (int64_t y = begin(augmentation.cutout_y); y < end(augmentation.cutout_y, s.height); ++y) {
    float* const row = output + y * s.width * s.channels;
    std::fill(row + left * s.channels, row + right * s.channels, 0.0f);
  }
}

std::unique_ptr<ImageAugmentation> MakeCpuAugmentation(const AugmentationShape& shape,
                                                       std::span<const float> table) {
  CheckShape(shape, table);
  return std::make_unique<CpuAugmentation>(shape, table);
}

}  // namespace thinwire
