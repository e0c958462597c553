#include "datasets/image_operations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace thinwire {
namespace {

constexpr int64_t kChannels = 3;

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

/// Pillow's blend: from `base` through `value` (factor 1) and beyond, cut off, not rounded.
uint8_t Blend(int base, int value, float factor) {
  const float blended = static_cast<float>(base) + factor * static_cast<float>(value - base);
  return static_cast<uint8_t>(std::clamp(blended, 0.0f, 255.0f));
}

/// Luma as Pillow's convert("L"), in 16-bit fixed point.
int Grey(const uint8_t* pixel) {
  return (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16;
}

void Look(const std::array<Table, kChannels>& tables, int64_t count, uint8_t* pixels) {
  for (int64_t i = 0; i < count; ++i, pixels += kChannels) {
    for (size_t c = 0; c < kChannels; ++c) pixels[c] = tables[c][pixels[c]];
  }
}

template <typename Function>
void LookAll(int64_t count, uint8_t* pixels, const Function& function) {
  Table table;
  for (int value = 0; value < 256; ++value) table[static_cast<size_t>(value)] = function(value);
  Look({table, table, table}, count, pixels);
}

void Saturate(int64_t count, float factor, uint8_t* pixels) {
  for (int64_t i = 0; i < count; ++i, pixels += kChannels) {
    const int grey = Grey(pixels);
    for (int64_t c = 0; c < kChannels; ++c) pixels[c] = Blend(grey, pixels[c], factor);
  }
}

int MeanGrey(int64_t count, const uint8_t* pixels) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += Grey(pixels + i * kChannels);
  return static_cast<int>(static_cast<double>(sum) / static_cast<double>(count) + 0.5);
}

/// A 3x3 mean with the middle counted five times; the edge stays.
void Sharpen(int64_t size, float factor, uint8_t* pixels, std::vector<uint8_t>& scratch) {
  const int64_t stride = size * kChannels;
  scratch.assign(pixels, pixels + size * stride);
  for (int64_t y = 1; y + 1 < size; ++y) {
    for (int64_t i = kChannels; i < stride - kChannels; ++i) {
      const uint8_t* const middle = scratch.data() + y * stride + i;
      int sum = 4 * *middle;
      for (const int64_t row : {-stride, int64_t{0}, stride}) {
        for (const int64_t column : {-kChannels, int64_t{0}, kChannels})
          sum += middle[row + column];
      }
      const int smooth = static_cast<int>(static_cast<float>(sum) / 13.0f + 0.5f);
      pixels[y * stride + i] = Blend(smooth, *middle, factor);
    }
  }
}

std::array<Histogram, kChannels> Histograms(int64_t count, const uint8_t* pixels) {
  std::array<Histogram, kChannels> histograms{};
  for (int64_t i = 0; i < count; ++i, pixels += kChannels) {
    for (size_t c = 0; c < kChannels; ++c) ++histograms[c][pixels[c]];
  }
  return histograms;
}

Table StretchTable(const Histogram& histogram) {
  int low = 0, high = 255;
  while (low < 255 && histogram[static_cast<size_t>(low)] == 0) ++low;
  while (high > 0 && histogram[static_cast<size_t>(high)] == 0) --high;
  Table table;
  for (int value = 0; value < 256; ++value) {
    const double scale = 255.0 / (high - low), offset = -low * scale;
    table[static_cast<size_t>(value)] =
        high <= low
            ? static_cast<uint8_t>(value)
            : static_cast<uint8_t>(std::clamp(static_cast<int>(value * scale + offset), 0, 255));
  }
  return table;
}

/// ImageOps.equalize: steps of a 255th of all pixels but those of the last value.
Table EqualizeTable(const Histogram& histogram) {
  Table table;
  int64_t sum = 0, last = 0;
  int values = 0;
  for (const int64_t count : histogram) {
    sum += count;
    if (count > 0) last = count, ++values;
  }
  const int64_t step = values > 1 ? (sum - last) / 255 : 0;
  int64_t below = step / 2;
  for (size_t value = 0; value < 256; ++value) {
    table[value] = step == 0 ? static_cast<uint8_t>(value)
                             : static_cast<uint8_t>(std::min<int64_t>(below / step, 255));
    below += histogram[value];
  }
  return table;
}

/// Output pixel (x, y) is the input's at (a x + b y + c, d x + e y + f), of pixels' middles, in
/// 16-bit fixed point.
void Move(const std::array<double, 6>& matrix, int64_t size, uint8_t* pixels,
          std::vector<uint8_t>& scratch) {
  constexpr int kFractionBits = 16;
  const auto fixed = [](double value) {
    return static_cast<int64_t>(std::floor(value * (1 << kFractionBits) + 0.5));
  };
  const auto& [a, b, c, d, e, f] = matrix;
  const int64_t column_x = fixed(a), row_x = fixed(b), first_x = fixed(c + 0.5 * (a + b));
  const int64_t column_y = fixed(d), row_y = fixed(e), first_y = fixed(f + 0.5 * (d + e));
  scratch.assign(pixels, pixels + size * size * kChannels);
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x, pixels += kChannels) {
      const int64_t from_x = (first_x + x * column_x + y * row_x) >> kFractionBits;
      const int64_t from_y = (first_y + x * column_y + y * row_y) >> kFractionBits;
      if (from_x < 0 || from_x >= size || from_y < 0 || from_y >= size) {
        std::fill_n(pixels, kChannels, uint8_t{0});
      } else {
        std::copy_n(scratch.data() + (from_y * size + from_x) * kChannels, kChannels, pixels);
      }
    }
  }
}

}  // namespace

void ApplyOperation(ImageOperation operation, double magnitude, int64_t size, uint8_t* pixels,
                    std::vector<uint8_t>& scratch) {
  const int64_t count = size * size;
  const auto factor = static_cast<float>(magnitude);
  switch (operation) {
    case ImageOperation::kIdentity:
      return;
    case ImageOperation::kShearX:
      return Move({1, -magnitude, 0, 0, 1, 0}, size, pixels, scratch);
    case ImageOperation::kShearY:
      return Move({1, 0, 0, -magnitude, 1, 0}, size, pixels, scratch);
    case ImageOperation::kTranslateX:
      return Move({1, 0, -magnitude, 0, 1, 0}, size, pixels, scratch);
    case ImageOperation::kTranslateY:
      return Move({1, 0, 0, 0, 1, -magnitude}, size, pixels, scratch);
    case ImageOperation::kRotate: {
      const double angle = magnitude * std::numbers::pi / 180,
                   middle = static_cast<double>(size) / 2;
      const double cosine = std::cos(angle), sine = std::sin(angle);
      // Rows count downwards.
      return Move({cosine, -sine, middle - (cosine - sine) * middle, sine, cosine,
                   middle - (sine + cosine) * middle},
                  size, pixels, scratch);
    }
    case ImageOperation::kBrightness:
      return LookAll(count, pixels, [&](int value) { return Blend(0, value, factor); });
    case ImageOperation::kSaturation:
      return Saturate(count, factor, pixels);
    case ImageOperation::kContrast: {
      const int mean = MeanGrey(count, pixels);
      return LookAll(count, pixels, [&](int value) { return Blend(mean, value, factor); });
    }
    case ImageOperation::kSharpness:
      return Sharpen(size, factor, pixels, scratch);
    case ImageOperation::kPosterize: {
      const int mask = 0xFF & ~(0xFF >> static_cast<int>(magnitude));
      return LookAll(count, pixels, [&](int value) { return static_cast<uint8_t>(value & mask); });
    }
    case ImageOperation::kSolarize:
      return LookAll(count, pixels, [&](int value) {
        return static_cast<uint8_t>(value < magnitude ? value : 255 - value);
      });
    case ImageOperation::kAutoContrast:
    case ImageOperation::kEqualize: {
      const auto histograms = Histograms(count, pixels);
      std::array<Table, kChannels> tables;
      for (size_t c = 0; c < kChannels; ++c) {
        tables[c] = operation == ImageOperation::kEqualize ? EqualizeTable(histograms[c])
                                                           : StretchTable(histograms[c]);
      }
      return Look(tables, count, pixels);
    }
  }
}

}  // namespace thinwire
