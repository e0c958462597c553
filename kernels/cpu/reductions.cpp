#include "kernels/cpu/reductions.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <span>

#include "kernels/bfloat16.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"
#include "kernels/sum_tree.h"

namespace thinwire::cpu {
namespace {

/// One value of each chunk of x, in order.
template <typename T, typename Function>
std::array<T, sum_tree::kMaxPieces> MapChunks(ConstView x, T absent, const Function& function) {
  const int64_t size = sum_tree::PieceSize(x.size);
  std::array<T, sum_tree::kMaxPieces> values;
  values.fill(absent);
  ParallelFor(x.size, size, [&](int64_t begin, int64_t end) {
    values[static_cast<size_t>(begin / size)] = function(begin, end);
  });
  return values;
}

}  // namespace

void SumOfSquares(ConstView x, View result) {
  assert(result.type == DataType::kFloat64);
  const auto sums = WithFloatingType(x.type, [&]<typename T>() {
    return MapChunks(x, 0.0, [&](int64_t begin, int64_t end) {
      return Isa().flat<T>().sum_of_squares(x.as<T>() + begin, end - begin);
    });
  });
  std::array<double, sum_tree::kLanes> lanes{};
  for (size_t chunk = 0; chunk < sums.size(); ++chunk) lanes[chunk % lanes.size()] += sums[chunk];
  double total = 0;
  for (const double lane : lanes) total += lane;
  *result.as<double>() = total;
}

void ClipScale(ConstView sum_of_squares, double max_norm, View scale) {
  assert(sum_of_squares.type == DataType::kFloat64);
  const double ratio = max_norm / (std::sqrt(*sum_of_squares.as<double>()) + 1e-6);
  WithFloatingType(scale.type, [&]<typename T>() {
    *scale.as<T>() = ratio > 1 ? T{1} : static_cast<T>(ratio);  // NaN stays
  });
}

int64_t FirstNonFinite(ConstView x) {
  if (x.type == DataType::kBFloat16) {
    constexpr uint16_t exponent = 0x7F80;
    const auto* const begin = x.as<BFloat16>();
    const auto* const found = std::find_if(
        begin, begin + x.size, [](BFloat16 value) { return (value.bits & exponent) == exponent; });
    return found == begin + x.size ? -1 : found - begin;
  }
  const auto found = WithFloatingType(x.type, [&]<typename T>() {
    return MapChunks(x, int64_t{-1}, [&](int64_t begin, int64_t end) {
      const int64_t index = Isa().flat<T>().first_non_finite(x.as<T>() + begin, end - begin);
      return index < 0 ? index : begin + index;
    });
  });
  for (const int64_t index : found) {
    if (index >= 0) return index;
  }
  return -1;
}

int64_t FirstNonMagnitude(ConstView x) {
  return WithFloatingType(x.type, [&]<typename T>() -> int64_t {
    const std::span<const T> values{x.as<T>(), static_cast<size_t>(x.size)};
    const auto found =
        std::ranges::find_if(values, [](T value) { return !(std::isfinite(value) && value >= 0); });
    return found == values.end() ? -1 : found - values.begin();
  });
}

int64_t FirstMalformed(ConstView indices, ConstView values, const Range& range) {
  const auto* const index = indices.as<int32_t>();
  return WithFloatingType(values.type, [&]<typename T>() -> int64_t {
    const T* const value = values.as<T>();
    int64_t least = range.begin;
    for (int64_t j = 0; j < indices.size; ++j) {
      if (index[j] < least || index[j] >= range.end || !std::isfinite(value[j])) return j;
      least = int64_t{index[j]} + 1;
    }
    return -1;
  });
}

}  // namespace thinwire::cpu
