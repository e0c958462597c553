#include "datasets/augment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/error.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kAugmentationKey = 0x6175676d656e7421;  // keeps apart from other uses of a seed
constexpr int64_t kByteValues = 256;
constexpr int64_t kAnyChannels = 0;

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
    : height_(height),
      width_(width),
      channels_(channels),
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
    return int64_t{random.Below(static_cast<uint32_t>(bound))};
  };
  Augmentation result;
  const int64_t padding = options_.crop_padding;
  // What is not wanted is drawn all the same, so that options do not change one another's draws.
  result.shift_y = below(2 * padding + 1) - padding;
  result.shift_x = below(2 * padding + 1) - padding;
  result.flip = below(2) == 1 && options_.flip;
  result.cutout_y = below(height_);
  result.cutout_x = below(width_);
  return result;
}

template <int64_t kChannels>
void Augmenter::CropRows(const Augmentation& augmentation, const uint8_t* image,
                         float* output) const {
  const int64_t channels = kChannels == kAnyChannels ? channels_ : kChannels;
  // Output columns [first, last), before the flip, that lie in the image.
  const int64_t first = std::clamp<int64_t>(-augmentation.shift_x, 0, width_);
  const int64_t last = std::clamp<int64_t>(width_ - augmentation.shift_x, first, width_);
  const int64_t step = augmentation.flip ? -channels : channels;
  const float* const table = table_.data();

  for (int64_t y = 0; y < height_; ++y) {
    float* const row = output + y * width_ * channels;
    int64_t at = augmentation.flip ? (width_ - 1) * channels : 0;  // where in the row to write
    const auto blacken = [&](int64_t count) {
      for (int64_t x = 0; x < count; ++x, at += step) {
        for (int64_t c = 0; c < channels; ++c) row[at + c] = table[c * kByteValues];
      }
    };
    const int64_t source_y = y + augmentation.shift_y;
    if (source_y < 0 || source_y >= height_) {
      blacken(width_);
      continue;
    }
    blacken(first);
    const uint8_t* source = image + (source_y * width_ + first + augmentation.shift_x) * channels;
    for (int64_t x = first; x < last; ++x, at += step, source += channels) {
      for (int64_t c = 0; c < channels; ++c) row[at + c] = table[c * kByteValues + source[c]];
    }
    blacken(width_ - last);
  }
}

void Augmenter::Apply(const Augmentation& augmentation, const uint8_t* image, float* output) const {
  switch (channels_) {
    case 1:
      CropRows<1>(augmentation, image, output);
      break;
    case 3:
      CropRows<3>(augmentation, image, output);
      break;
    default:
      CropRows<kAnyChannels>(augmentation, image, output);
  }
  if (options_.cutout == 0) return;
  const auto begin = [this](int64_t centre) {
    return std::max<int64_t>(centre - options_.cutout / 2, 0);
  };
  const auto end = [this](int64_t centre, int64_t size) {
    return std::min(centre - options_.cutout / 2 + options_.cutout, size);
  };
  const int64_t left = begin(augmentation.cutout_x), right = end(augmentation.cutout_x, width_);
  for (int64_t y = begin(augmentation.cutout_y); y < end(augmentation.cutout_y, height_); ++y) {
    float* const row = output + y * width_ * channels_;
    std::fill(row + left * channels_, row + right * channels_, 0.0f);
  }
}

}  // namespace thinwire
