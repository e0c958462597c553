#include "datasets/resample.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/cpu/isa.h"

namespace thinwire {
namespace {

constexpr int64_t kChannels = 3;

}  // namespace

ResampleAxis PlanResampling(double begin, double end, int64_t size, int64_t first, int64_t count) {
  assert(begin < end && size > 0 && first >= 0 && count > 0 && first + count <= size);
  const double scale = (end - begin) / static_cast<double>(size);
  const double filter_scale = std::max(scale, 1.0);  // enlarging interpolates between neighbours
  const auto lowest = static_cast<int64_t>(std::floor(begin));
  const auto highest = static_cast<int64_t>(std::ceil(end));
  const auto centre = [&](int64_t i) {
    return begin + (static_cast<double>(first + i) + 0.5) * scale;
  };
  const auto start = [&](int64_t i) {
    return std::max(static_cast<int64_t>(std::floor(centre(i) - filter_scale + 0.5)), lowest);
  };
  const auto stop = [&](int64_t i) {
    return std::min(static_cast<int64_t>(std::floor(centre(i) + filter_scale + 0.5)), highest);
  };
  ResampleAxis axis{.first_input = start(0), .last_input = stop(count - 1)};
  for (int64_t i = 0; i < count; ++i) axis.taps = std::max(axis.taps, stop(i) - start(i));
  axis.stride = (axis.taps + 3) / 4 * 4;
  axis.starts.resize(static_cast<size_t>(count));
  axis.weights.resize(static_cast<size_t>(count * axis.stride));
  std::vector<double> weights(static_cast<size_t>(axis.taps));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = start(i), own_taps = stop(i) - from;
    double sum = 0;
    for (int64_t tap = 0; tap < own_taps; ++tap) {
      const double distance = (static_cast<double>(from + tap) + 0.5 - centre(i)) / filter_scale;
      double& weight = weights[static_cast<size_t>(tap)];
      weight = std::max(0.0, 1 - std::abs(distance));
      sum += weight;
    }
    // Padding must not reach behind the last input, so the spans at the end begin earlier.
    const int64_t padded_from = std::min(from, axis.last_input - axis.taps);
    axis.starts[static_cast<size_t>(i)] = static_cast<int32_t>(padded_from - axis.first_input);
    int32_t* const fixed = axis.weights.data() + i * axis.stride + (from - padded_from);
    for (int64_t tap = 0; tap < own_taps; ++tap) {
      const double weight = weights[static_cast<size_t>(tap)] / sum;
      fixed[tap] = static_cast<int32_t>(0.5 + weight * (1 << cpu::kResampleBits));
    }
  }
  return axis;
}

ResampleAxis Mirrored(ResampleAxis axis) {
  std::reverse(axis.starts.begin(), axis.starts.end());
  const auto weights = [&](int64_t i) { return axis.weights.begin() + i * axis.stride; };
  for (int64_t i = 0, j = axis.outputs() - 1; i < j; ++i, --j) {
    std::swap_ranges(weights(i), weights(i + 1), weights(j));
  }
  return axis;
}

Resampler::Resampler(const ResampleAxis& x, const ResampleAxis& y, bool upside_down,
                     uint8_t* output, std::vector<uint8_t>& scratch)
    : x_(x),
      y_(y),
      upside_down_(upside_down),
      row_size_(x.outputs() * kChannels),
      output_(output),
      taken_(static_cast<size_t>(y.taps)) {
  if (std::ssize(scratch) < y.taps * row_size_) {
    scratch.resize(static_cast<size_t>(y.taps * row_size_));
  }
  kept_ = scratch.data();
}

void Resampler::Add(const uint8_t* pixels) {
  const cpu::ResampleTaps x{x_.starts.data(), x_.weights.data(), x_.outputs(), x_.taps, x_.stride};
  cpu::Isa().resample_row(x, pixels, x_.inputs() * kChannels, Kept(rows_));
  ++rows_;
  for (; done_ < y_.outputs(); ++done_) {
    const int64_t start = y_.starts[static_cast<size_t>(done_)];
    if (start + y_.taps > rows_) break;
    for (int64_t tap = 0; tap < y_.taps; ++tap) {
      taken_[static_cast<size_t>(tap)] = Kept(start + tap);
    }
    const int64_t row = upside_down_ ? y_.outputs() - 1 - done_ : done_;
    cpu::Isa().mix_rows(y_.weights.data() + done_ * y_.stride, y_.taps, taken_.data(), row_size_,
                        output_ + row * row_size_);
  }
}

void Resample(const ResampleAxis& x, const ResampleAxis& y, const uint8_t* input,
              int64_t input_stride, uint8_t* output, std::vector<uint8_t>& scratch) {
  Resampler resampler(x, y, false, output, scratch);
  for (int64_t row = 0; row < y.inputs(); ++row) resampler.Add(input + row * input_stride);
}

}  // namespace thinwire
