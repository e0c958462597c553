#include "train/plot_axis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace thinwire {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The labelled ticks' text, "10^-3" for powers.
std::vector<std::string> Labels(const PlotAxis& axis) {
  std::vector<std::string> labels;
  for (const Tick& tick : axis.ticks()) {
    if (!tick.labelled) continue;
    const TickLabel& label = tick.label;
    labels.push_back(label.exponent.empty() ? label.base : label.base + "^" + label.exponent);
  }
  return labels;
}

using Strings = std::vector<std::string>;

TEST(PlotAxis, LinearTicksAreRound) {
  const PlotAxis steps({1, 2500, 5000}, false, true);
  EXPECT_EQ(Labels(steps), (Strings{"0", "1000", "2000", "3000", "4000", "5000"}));
  EXPECT_EQ(steps.Position(0), 0);
  EXPECT_EQ(steps.Position(2500), 0.5);
  EXPECT_EQ(steps.Position(5000), 1);
  const PlotAxis loss({0.13, 0.62}, false, false);
  EXPECT_EQ(Labels(loss), (Strings{"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"}));
  EXPECT_EQ(Labels(PlotAxis({-1, 1}, false, false)),
            (Strings{"−1.0", "−0.5", "0.0", "0.5", "1.0"}));
  EXPECT_EQ(Labels(PlotAxis({0.645, 0.6452}, false, false)),
            (Strings{"0.64500", "0.64505", "0.64510", "0.64515", "0.64520"}));
}

TEST(PlotAxis, FarNumbersHaveAPowerOfTenInCommon) {
  const PlotAxis bits({0, 21'760'000}, false, true);
  EXPECT_EQ(bits.exponent(), 7);
  EXPECT_EQ(Labels(bits), (Strings{"0.0", "0.5", "1.0", "1.5", "2.0"}));
  const PlotAxis tiny({0, 4e-7}, false, true);
  EXPECT_EQ(tiny.exponent(), -7);
  EXPECT_EQ(Labels(tiny), (Strings{"0", "1", "2", "3", "4"}));
}

TEST(PlotAxis, LogarithmicTicksArePowersOfTen) {
  const PlotAxis axis({1e-3, 1e2}, true, true);
  EXPECT_EQ(Labels(axis), (Strings{"10^−3", "10^−2", "10^−1", "10^0", "10^1", "10^2"}));
  EXPECT_EQ(axis.Position(1e-3), 0);
  EXPECT_NEAR(axis.Position(1), 0.6, 1e-15);
  EXPECT_NEAR(axis.Position(1e2), 1, 1e-15);
  EXPECT_EQ(axis.ticks().size(), 5u * 9 + 1);
  // Many decades: some of them, at even distances.
  const Strings many = Labels(PlotAxis({1e-17, 1}, true, false));
  EXPECT_EQ(many, (Strings{"10^−15", "10^−12", "10^−9", "10^−6", "10^−3", "10^0"}));
  // Few: numbers between them, too.
  EXPECT_EQ(Labels(PlotAxis({15, 150}, true, true)), (Strings{"2·10^1", "5·10^1", "10^2"}));
  EXPECT_EQ(Labels(PlotAxis({0.2, 0.4}, true, true)),
            (Strings{"0.20", "0.25", "0.30", "0.35", "0.40"}));
}

TEST(PlotAxis, ShowsWhatItCan) {
  const PlotAxis linear({kNaN, kInfinity, -kInfinity, 1e301, 2, 4}, false, true);
  EXPECT_EQ(linear.Position(2), 0);
  EXPECT_EQ(linear.Position(4), 1);
  for (const double value : {kNaN, kInfinity, -kInfinity, 1e301}) {
    EXPECT_FALSE(linear.Shows(value));
  }
  EXPECT_TRUE(linear.Shows(0));
  EXPECT_TRUE(linear.Shows(-3));
  const PlotAxis logarithmic({0, -1, kNaN, 10, 1000}, true, true);
  EXPECT_EQ(logarithmic.Position(10), 0);
  EXPECT_FALSE(logarithmic.Shows(0));
  EXPECT_FALSE(logarithmic.Shows(-1));
  EXPECT_FALSE(logarithmic.Shows(std::numeric_limits<double>::denorm_min()));
  EXPECT_TRUE(logarithmic.Shows(1e-299));
}

TEST(PlotAxis, AnyRangeHasTicksWithinIt) {
  const double least = std::numeric_limits<double>::denorm_min();
  for (const std::vector<double>& values : {std::vector<double>{},
                                            {0},
                                            {5},
                                            {-5},
                                            {1e300},
                                            {-1e300, 1e300},
                                            {1e-300},
                                            {least},
                                            {0, least},
                                            {1, std::nextafter(1, 2)},
                                            {3, 3.0000001},
                                            {1e15, 1e15 + 1},
                                            {99, 101},
                                            {-7, -6.5},
                                            {1e-300, 1e300},
                                            {0.1, 0.3},
                                            {2, 7},
                                            {2.1, 4.9},
                                            {9, 11}}) {
    for (const bool logarithmic : {false, true}) {
      for (const bool snug : {false, true}) {
        SCOPED_TRACE(::testing::PrintToString(values) + (logarithmic ? " log" : " linear"));
        const PlotAxis axis(values, logarithmic, snug);
        EXPECT_GE(Labels(axis).size(), 2u);
        EXPECT_LE(Labels(axis).size(), 12u);
        for (const Tick& tick : axis.ticks()) {
          ASSERT_TRUE(std::isfinite(tick.value));
          EXPECT_GE(axis.Position(tick.value), -1e-6);
          EXPECT_LE(axis.Position(tick.value), 1 + 1e-6);
        }
        for (const double value : values) {
          if (!axis.Shows(value)) continue;
          EXPECT_GE(axis.Position(value), -1e-9);
          EXPECT_LE(axis.Position(value), 1 + 1e-9);
        }
      }
    }
  }
}

}  // namespace
}  // namespace thinwire
