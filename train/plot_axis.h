// Axes of a plot: the range that they show, and their ticks.
#pragma once

#include <string>
#include <vector>

namespace thinwire {

/// Text such as 10⁻³ (base "10", exponent "−3") or 0.5 (no exponent).
struct TickLabel {
  std::string base, exponent;
};

struct Tick {
  double value = 0;
  bool labelled = true;
  TickLabel label = {};
};

/// A linear or logarithmic scale.
class PlotAxis {
 public:
  /// Larger values have no place on an axis, smaller ones none on a logarithmic one: so ticks and
  /// differences are finite.
  static constexpr double kLargest = 1e300, kSmallest = 1e-300;

  /// Shows `values`: those that the scale can show, which are all but NaN, the very large and, on a
  /// logarithmic one, what is not positive. Without any, it shows [0, 1], or [1, 10].
  /// @param snug The range ends with the values, and not somewhat behind them.
  PlotAxis(const std::vector<double>& values, bool logarithmic, bool snug);

  bool logarithmic() const { return logarithmic_; }
  bool Shows(double value) const;
  /// 0 at the begin of the axis and 1 at its end, for a value that it shows.
  double Position(double value) const;

  /// In rising order; at least two of them labelled.
  const std::vector<Tick>& ticks() const { return ticks_; }
  /// Labels of ticks are to be multiplied by ten to this power.
  int exponent() const { return exponent_; }

 private:
  void MakeLinearTicks(bool snug);
  void MakeLogarithmicTicks();

  bool logarithmic_;
  double begin_ = 0, end_ = 1;  // logarithms to base 10 of a logarithmic axis's ends
  int exponent_ = 0;
  std::vector<Tick> ticks_;
};

}  // namespace thinwire
