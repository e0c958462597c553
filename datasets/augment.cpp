#include "datasets/augment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cpu/augmentation.h"
#include "kernels/error.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kAugmentationKey = 0x6175676d656e7421;  // keeps apart from other uses of a seed

[[noreturn]] void FailUsage(const std::string& problem, const std::string& remedy) {
  throw Error("cannot augment the images: " + problem, remedy, Error::Kind::kUsage);
}

}  // namespace

std::vector<float> NormalizationTable(const Normalization& normalization, int64_t channels) {
  if (std::ssize(normalization.mean) != channels ||
      std::ssize(normalization.deviation) != channels) {
    FailUsage(fmt::format("{} means and {} deviations are given for {} channels",
                          normalization.mean.size(), normalization.deviation.size(), channels),
              "give one of each for every channel");
  }
  std::vector<float> table(static_cast<size_t>(channels * kByteValues));
  for (int64_t c = 0; c < channels; ++c) {
    const double mean = normalization.mean[static_cast<size_t>(c)];
    const double deviation = normalization.deviation[static_cast<size_t>(c)];
    if (!std::isfinite(mean) || !std::isfinite(deviation) || deviation <= 0) {
      FailUsage(fmt::format("channel {} has mean {} and deviation {}", c, mean, deviation),
                "give finite means and positive deviations");
    }
    for (int64_t i = 0; i < kByteValues; ++i) {
      table[static_cast<size_t>(c * kByteValues + i)] =
          static_cast<float>((static_cast<double>(i) / 255 - mean) / deviation);
    }
  }
  return table;
}

Augmenter::Augmenter(int64_t height, int64_t width, int64_t channels,
                     const Normalization& normalization, const AugmentationOptions& options,
                     uint64_t seed)
    : shape_{.batch = 1,
             .height = height,
             .width = width,
             .channels = channels,
             .cutout = options.cutout},
      options_(options),
      seed_(seed),
      table_(NormalizationTable(normalization, channels)) {
  assert(height > 0 && width > 0 && channels > 0);
  const int64_t side = std::min(height, width);
  if (options.crop_padding < 0 || options.crop_padding > side) {
    FailUsage(fmt::format("a crop padding of {} does not suit images of {}x{}",
                          options.crop_padding, height, width),
              fmt::format("choose 0 to {}", side));
  }
  if (options.randaugment_operations != 0 || options.color_jitter != 0) {
    FailUsage("randaugment and color-jitter are for images that are decoded, and these are stored",
              "leave them out");
  }
  if (options.cutout < 0 || options.cutout > 2 * side) {
    FailUsage(
        fmt::format("a cutout of {} does not suit images of {}x{}", options.cutout, height, width),
        fmt::format("choose 0 to {}", 2 * side));
  }
}

Augmentation Augmenter::Draw(int64_t epoch, int64_t index) const {
  assert(index >= 0 && index < int64_t{1} << 32);
  RandomStream random(seed_ ^ kAugmentationKey,
                      static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(index));
  const auto below = [&random](int64_t bound) {
    return static_cast<int32_t>(random.Below(static_cast<uint32_t>(bound)));
  };
  Augmentation result;
  const auto padding = static_cast<int32_t>(options_.crop_padding);
  // What is not wanted is drawn all the same, so that options do not change one another's draws.
  result.shift_y = below(2 * padding + 1) - padding;
  result.shift_x = below(2 * padding + 1) - padding;
  result.flip = below(2) == 1 && options_.flip ? 1 : 0;
  result.cutout_y = below(shape_.height);
  result.cutout_x = below(shape_.width);
  return result;
}

void Augmenter::Apply(const Augmentation& augmentation, const uint8_t* image, float* output) const {
  cpu::Augment(shape_, table_.data(), augmentation, image, output);
}

}  // namespace thinwire
