// How far a result in float32 (or another type T) may lie from the float64 reference, and the
// comparison itself.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/view.h"

namespace thinwire::reference {

/// c * eps * sqrt(length) * scale: `c` roundings in a row of numbers of magnitude `scale`, behind a
/// sum in T of `length` such numbers, whose rounding errors add up like a random walk. (Higham
/// and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019: the chance to exceed
/// lambda * u * sqrt(n) is below 2 exp(-lambda^2 / 2), and eps = 2 u.)
template <typename T = float>
double Tolerance(double c, double scale, int64_t length = 1) {
  return c * std::numeric_limits<T>::epsilon() *
         std::sqrt(static_cast<double>(std::max<int64_t>(1, length))) * scale;
}

/// A float32 sum of n products errs, in whatever order it is taken, by at most λ sqrt(n) u Σ|ab|
/// but for a chance of 2 n exp(-λ²/2) (Higham and Mary, "A New Approach to Probabilistic Rounding
/// Error Analysis", 2019); λ = 7 makes that negligible. The operands are standard normal, so Σ|ab|
/// is 2n/π on average, and within 7 deviations of it.
inline double SumTolerance(int64_t n) {
  const double unit_roundoff = std::numeric_limits<float>::epsilon() / 2;
  const double count = static_cast<double>(n + 1);  // one for the bias
  return 7 * std::sqrt(count) * unit_roundoff * (0.637 * count + 7 * std::sqrt(count));
}

/// How far a result that was computed in float32, with that tolerance, may lie from `expected`
/// after it was rounded to `type`, float32 (not at all) or bfloat16. The last term is half of the
/// smallest bfloat16.
inline double Stored(DataType type, double tolerance, double expected) {
  if (type != DataType::kBFloat16) return tolerance;
  return tolerance + kBFloat16Rounding * (std::abs(expected) + tolerance) + 0x1p-134;
}

/// Expects |actual[i] - expected[i]| <= tolerance(i); NaN meets NaN, and an infinity itself.
template <typename T, typename Function>
void ExpectNear(const std::vector<T>& actual, const std::vector<double>& expected,
                const Function& tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double difference = std::abs(actual[i] - expected[i]);
    const bool both_nan = std::isnan(actual[i]) && std::isnan(expected[i]);
    if (both_nan || actual[i] == expected[i] || difference <= tolerance(i)) continue;
    FAIL() << "element " << i << " of " << actual.size() << " is " << actual[i] << ", expected "
           << expected[i] << " +- " << tolerance(i);
  }
}

/// Expects the T nearest to each expected value, bit for bit but for NaN's payload.
template <typename T>
void ExpectExact(const std::vector<T>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const T wanted = static_cast<T>(expected[i]);
    if (actual[i] == wanted || (std::isnan(actual[i]) && std::isnan(wanted))) continue;
    FAIL() << "element " << i << " of " << actual.size() << " is " << actual[i] << ", expected "
           << wanted;
  }
}

}  // namespace thinwire::reference
