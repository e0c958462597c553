// The reference itself, against values worked out by hand.
#include "tests/reference/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;

TEST(ReferenceElementwise, AddsAndCutsBelowZero) {
  EXPECT_EQ(Add({1, -3, 0.5f}, {2, 1, -0.25f}, false), (Values{3, -2, 0.25}));
  EXPECT_EQ(Add({1, -3, 0.5f}, {2, 1, -0.25f}, true), (Values{3, 0, 0.25}));
  EXPECT_EQ(Relu({-1, 0, 2}), (Values{0, 0, 2}));
  EXPECT_TRUE(std::isnan(Relu({NAN})[0]));
  EXPECT_EQ(ReluBackward({0, 2, -1, 3}, {5, 6, 7, -8}), (Values{0, 6, 0, -8}));
}

TEST(ReferenceElementwise, AveragesWithADecay) {
  EXPECT_EQ(Average({4, 8}, 0.75, {0, 4}), (Values{1, 5}));
}

TEST(ReferenceElementwise, DropsAtTheRateAndRescales) {
  const std::vector<float> ones(10000, 1);
  int kept = 0;
  for (const double value : Dropout(ones, 0.2f, 3, 7)) {
    if (value == 0) continue;
    ++kept;
    EXPECT_NEAR(value, 1.25, 1e-6);  // the rate itself is a float32
  }
  EXPECT_NEAR(kept, 8000, 5 * std::sqrt(10000 * 0.8 * 0.2));
  EXPECT_EQ(Dropout({3, 4}, 0, 1, 1), (Values{3, 4}));
  EXPECT_EQ(Dropout({3, 4}, 1, 1, 1), (Values{0, 0}));
}

TEST(ReferenceElementwise, Reduces) {
  EXPECT_EQ(SumOfSquares({}), 0);
  EXPECT_EQ(SumOfSquares({3, -4}), 25);
  EXPECT_EQ(ClipScale(0, 1), 1);
  EXPECT_NEAR(ClipScale(25, 2), 0.4, 1e-6);
  EXPECT_TRUE(std::isnan(ClipScale(NAN, 2)));
  EXPECT_EQ(FirstNonFinite({}), -1);
  EXPECT_EQ(FirstNonFinite({1, 2}), -1);
  EXPECT_EQ(FirstNonFinite({1, -INFINITY, NAN}), 1);
}

}  // namespace
}  // namespace thinwire::reference
