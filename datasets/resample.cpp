#include "datasets/resample.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace thinwire {
namespace {

constexpr int kFractionBits = 22;  // 255 * 2^22 leaves a bit of an int32
constexpr int32_t kHalf = 1 << (kFractionBits - 1);
constexpr int64_t kChannels = 3;

uint8_t ToByte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

/// One row of pixels to x.outputs() pixels.
void ResampleRow(const ResampleAxis& x, const uint8_t* input, uint8_t* output) {
  const int32_t* weights = x.weights.data();
  for (int64_t i = 0; i < x.outputs(); ++i, weights += x.taps, output += kChannels) {
    const uint8_t* pixel = input + int64_t{x.starts[static_cast<size_t>(i)]} * kChannels;
    int32_t red = kHalf, green = kHalf, blue = kHalf;
    for (int64_t tap = 0; tap < x.taps; ++tap, pixel += kChannels) {
      red += weights[tap] * pixel[0];
      green += weights[tap] * pixel[1];
      blue += weights[tap] * pixel[2];
    }
    output[0] = ToByte(red);
    output[1] = ToByte(green);
    output[2] = ToByte(blue);
  }
}

/// `taps` rows of `size` bytes to one.
void MixRows(const int32_t* weights, int64_t taps, const uint8_t* rows, int64_t size,
             uint8_t* output) {
  constexpr int64_t kBlock = 64;  // sums that stay in registers
  int32_t sums[kBlock];
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t count = std::min(kBlock, size - begin);
    std::fill_n(sums, count, kHalf);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const uint8_t* const row = rows + tap * size + begin;
      for (int64_t i = 0; i < count; ++i) sums[i] += weights[tap] * row[i];
    }
    for (int64_t i = 0; i < count; ++i) output[begin + i] = ToByte(sums[i]);
  }
}

}  // namespace

ResampleAxis PlanResampling(double begin, double end, int64_t size, int64_t first, int64_t count) {
  assert(begin < end && size > 0 && first >= 0 && count > 0 && first + count <= size);
  const double scale = (end - begin) / static_cast<double>(size);
  const double filter_scale = std::max(scale, 1.0);  // enlarging interpolates between neighbours
  const auto lowest = static_cast<int64_t>(std::floor(begin));
  const auto highest = static_cast<int64_t>(std::ceil(end));
  struct Span {
    int64_t start;
    std::vector<double> weights;
  };
  std::vector<Span> spans;
  ResampleAxis axis;
  for (int64_t i = first; i < first + count; ++i) {
    const double centre = begin + (static_cast<double>(i) + 0.5) * scale;
    const int64_t start =
        std::max(static_cast<int64_t>(std::floor(centre - filter_scale + 0.5)), lowest);
    const int64_t stop =
        std::min(static_cast<int64_t>(std::floor(centre + filter_scale + 0.5)), highest);
    Span& span = spans.emplace_back(Span{start, {}});
    double sum = 0;
    for (int64_t input = start; input < stop; ++input) {
      const double distance = std::abs((static_cast<double>(input) + 0.5 - centre) / filter_scale);
      span.weights.push_back(std::max(0.0, 1 - distance));
      sum += span.weights.back();
    }
    for (double& weight : span.weights) weight /= sum;
    axis.taps = std::max(axis.taps, stop - start);
  }
  axis.first_input = spans.front().start;
  for (const Span& span : spans) {
    axis.last_input = std::max(axis.last_input, span.start + std::ssize(span.weights));
  }
  // Padding must not reach behind the last input, so the spans at the end begin earlier.
  axis.taps = std::min(axis.taps, axis.last_input - axis.first_input);
  axis.weights.resize(static_cast<size_t>(count * axis.taps));
  for (int64_t i = 0; i < count; ++i) {
    const Span& span = spans[static_cast<size_t>(i)];
    const int64_t start = std::min(span.start, axis.last_input - axis.taps);
    axis.starts.push_back(static_cast<int32_t>(start - axis.first_input));
    int32_t* const weights = axis.weights.data() + i * axis.taps + (span.start - start);
    for (size_t tap = 0; tap < span.weights.size(); ++tap) {
      weights[tap] = static_cast<int32_t>(0.5 + span.weights[tap] * (1 << kFractionBits));
    }
  }
  return axis;
}

void Resample(const ResampleAxis& x, const ResampleAxis& y, const uint8_t* input,
              int64_t input_stride, uint8_t* output, std::vector<uint8_t>& scratch) {
  const int64_t row_size = x.outputs() * kChannels;
  const int64_t rows = y.last_input - y.first_input;
  scratch.resize(static_cast<size_t>(rows * row_size));
  for (int64_t row = 0; row < rows; ++row) {
    ResampleRow(x, input + row * input_stride, scratch.data() + row * row_size);
  }
  for (int64_t i = 0; i < y.outputs(); ++i) {
    MixRows(y.weights.data() + i * y.taps, y.taps,
            scratch.data() + y.starts[static_cast<size_t>(i)] * row_size, row_size,
            output + i * row_size);
  }
}

}  // namespace thinwire
