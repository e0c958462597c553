// The reference itself, against values worked out by hand.
#include "tests/reference/compression.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;

TEST(ReferenceCompression, Evaluate) {
  Input input{.values = {1, -2, 3}, .factor = 2, .gradient_scale = 0.5};
  EXPECT_EQ(Evaluate(input), (Values{1, -2, 3}));
  input.parameters = {4, 4, 4};
  input.weight_decay = 0.25;
  input.decayed_size = 2;
  EXPECT_EQ(Evaluate(input), (Values{3, 0, 3}));
}

/// Padding at 0, 3 and from 6 on; groups {1, 2, 4} and {5}, the second a part of ten elements.
SignShape Shape() {
  return {.size = 32, .runs = {{{1, 3}, 0}, {{4, 5}, 0}, {{5, 6}, 1}}, .group_sizes = {3, 10}};
}

Values V(const Values& first) {
  Values v = first;
  v.resize(32, std::nan(""));
  return v;
}

TEST(ReferenceCompression, Signs) {
  const Values v = V({9, 1, -2, 9, -0.0, -5});
  EXPECT_EQ(Groups(Shape())[4], 0);
  EXPECT_EQ(Groups(Shape())[6], -1);
  EXPECT_EQ(Signs(Shape(), v), std::vector<int32_t>{0b010010});
  EXPECT_EQ(Sums(Shape(), v), (Values{3, 5}));
  EXPECT_EQ(Scales(Shape(), {3, 5}), (Values{1, 0.5}));
  SignShape squares = Shape();
  squares.scale = SignShape::Scale::kRootMeanSquare;
  EXPECT_EQ(Sums(squares, v), (Values{5, 25}));
  EXPECT_EQ(Scales(squares, {12, 40}), (Values{2, 2}));
}

TEST(ReferenceCompression, Decode) {
  const Message a{{0b010010}, {2, 1}}, b{{0b100010}, {4, 3}};
  Values expected(32);
  expected[1] = 2, expected[2] = -2, expected[4] = 2, expected[5] = -1;
  EXPECT_EQ(Decode(Shape(), a), expected);
  expected[1] = 3, expected[2] = -3, expected[4] = -1, expected[5] = 1;
  EXPECT_EQ(Mean(Shape(), {a, b}), expected);
  expected[1] = -1, expected[2] = 1, expected[4] = -2, expected[5] = 2;
  EXPECT_EQ(Settle(Shape(), {2, 3}, V({9, 1, -1, 9, -0.0, -1})), expected);
}

TEST(ReferenceCompression, SelectTopK) {
  const TopKShape shape{.size = 8, .ranges = {{0, 3}, {4, 8}}, .k = 3};
  const Selection ties = SelectTopK(shape, {1, -2, 2, 9, 2, 0.5, -2, 0});
  EXPECT_EQ(ties.indices, (std::vector<int32_t>{1, 2, 4}));
  EXPECT_EQ(ties.values, (Values{-2, 2, 2}));
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  EXPECT_EQ(SelectTopK(shape, {nan, 1, 2, nan, -inf, 3, nan, 0}).indices,
            (std::vector<int32_t>{0, 4, 6}));
}

}  // namespace
}  // namespace thinwire::reference
