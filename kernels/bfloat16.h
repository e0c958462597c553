// bfloat16: the upper half of a float32.
#pragma once

#include <bit>
#include <cstdint>

namespace thinwire {

/// As it lies in memory; nothing is computed in it.
struct BFloat16 {
  uint16_t bits;
  bool operator==(const BFloat16&) const = default;
};

/// Bound of the relative error of rounding to bfloat16, whose significand has eight bits.
inline constexpr double kBFloat16Rounding = 0x1p-8;

constexpr float ToFloat(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

/// The nearest one, of two the even; NaN becomes 0x7FFF, as on GPUs.
constexpr BFloat16 ToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return {static_cast<uint16_t>(nan ? 0x7FFF : rounded)};
}

}  // namespace thinwire
