#include "train/plot_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace thinwire {
namespace {

/// The number with a minus sign as print has it.
std::string Typeset(std::string number) {
  if (number.starts_with('-')) number.replace(0, 1, "−");
  return number;
}

TickLabel PowerOfTen(int exponent) { return {"10", Typeset(fmt::format("{}", exponent))}; }

int Exponent(double value) { return static_cast<int>(std::floor(std::log10(value))); }

/// 1, 2 or 5 times a power of ten, so that about five steps make `range`.
double NiceStep(double range) {
  const double rough = range / 5, power = std::pow(10, Exponent(rough));
  const double ratio = rough / power;
  return power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
}

}  // namespace

PlotAxis::PlotAxis(const std::vector<double>& values, bool logarithmic, bool snug)
    : logarithmic_(logarithmic) {
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  for (const double value : values) {
    if (!Shows(value)) continue;
    least = std::min(least, value);
    largest = std::max(largest, value);
  }
  if (least <= largest) {
    begin_ = logarithmic ? std::log10(least) : least;
    end_ = logarithmic ? std::log10(largest) : largest;
    // A single value, up to rounding, stands in the middle.
    const double magnitude = std::max(std::abs(begin_), std::abs(end_));
    const double rounding = logarithmic ? 1e-12 : std::max(1e-12 * magnitude, kSmallest);
    if (end_ - begin_ <= rounding) {
      const double margin = logarithmic ? 0.5 : magnitude > kSmallest ? magnitude / 2 : 1;
      begin_ -= margin;
      end_ += margin;
    }
  }
  if (logarithmic) {
    const double margin = snug ? 0 : std::min(5.0, 0.04 * (end_ - begin_));
    begin_ -= margin;
    end_ += margin;
    MakeLogarithmicTicks();
  } else {
    MakeLinearTicks(snug);
  }
}

bool PlotAxis::Shows(double value) const {
  return std::abs(value) <= kLargest && (!logarithmic_ || value >= kSmallest);
}

double PlotAxis::Position(double value) const {
  return ((logarithmic_ ? std::log10(value) : value) - begin_) / (end_ - begin_);
}

void PlotAxis::MakeLinearTicks(bool snug) {
  if (begin_ > 0 && begin_ < 0.1 * end_) begin_ = 0;
  const double step = NiceStep(end_ - begin_);
  // What is a whole number of steps but for rounding is one.
  constexpr double kSlack = 1e-9;
  if (!snug) {
    begin_ = std::floor(begin_ / step + kSlack) * step;
    end_ = std::ceil(end_ / step - kSlack) * step;
  }
  const double largest = std::max(std::abs(begin_), std::abs(end_));
  const int exponent = Exponent(largest);
  if (exponent >= 5 || exponent <= -4) exponent_ = exponent;
  const double unit = std::pow(10, exponent_);
  const int decimals = std::max(0, exponent_ - Exponent(step * (1 + kSlack)));
  const double last = std::floor(end_ / step + kSlack);
  for (double i = std::ceil(begin_ / step - kSlack); i <= last; ++i) {
    const double value = i * step;
    ticks_.push_back(
        {.value = value,
         .labelled = true,
         .label = {Typeset(fmt::format("{:.{}f}", value / unit + 0.0, decimals)), ""}});
  }
}

void PlotAxis::MakeLogarithmicTicks() {
  constexpr double kMostLabels = 7, kSlack = 1e-9;
  const double decades = end_ - begin_;
  const auto first = static_cast<int>(std::floor(begin_)), last = static_cast<int>(std::ceil(end_));
  const auto whole = std::floor(end_ + kSlack) - std::ceil(begin_ - kSlack) + 1;
  const bool few = whole < 3;  // powers of ten: label some between them
  if (few && decades < 0.6) {
    // Less than a factor of four: ticks as on a linear axis.
    const double least = std::pow(10, begin_), largest = std::pow(10, end_);
    const PlotAxis linear({least, largest}, /*logarithmic=*/false, /*snug=*/true);
    ticks_ = linear.ticks_;
    exponent_ = linear.exponent_;
    return;
  }
  const int stride = std::max(1, static_cast<int>(std::ceil(whole / kMostLabels)));
  for (int power = first; power <= last; ++power) {
    for (const int digit : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
      const double place = power + std::log10(digit);
      if (place < begin_ - kSlack || place > end_ + kSlack) continue;
      Tick tick{.value = std::pow(10, power) * digit, .labelled = false};
      if (digit == 1) {
        tick.labelled = power % stride == 0;
        tick.label = PowerOfTen(power);
      } else if (few && (digit == 2 || digit == 5)) {
        tick.labelled = true;
        tick.label = PowerOfTen(power);
        tick.label.base = fmt::format("{}·10", digit);
      }
      // Nine ticks a decade are too many for many decades.
      if (tick.labelled || digit == 1 || whole <= kMostLabels) ticks_.push_back(tick);
    }
  }
}

}  // namespace thinwire
