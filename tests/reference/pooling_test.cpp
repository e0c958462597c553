// The reference itself, against values worked out by hand.
#include "tests/reference/pooling.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;
using Positions = std::vector<uint8_t>;

PoolingShape Shape(PoolingShape::Kind kind, int64_t window, int64_t stride, int64_t padding) {
  return {.kind = kind,
          .batch = 1,
          .height = 3,
          .width = 3,
          .channels = 1,
          .window_height = window,
          .window_width = window,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding};
}

TEST(ReferencePooling, Max) {
  const auto shape = Shape(PoolingShape::Kind::kMax, 2, 1, 0);
  const auto result = PoolingForward(shape, {1, 2, 3, 9, 5, 6, 7, 8, 8});
  EXPECT_EQ(result.y, (Values{9, 6, 9, 8}));
  EXPECT_EQ(result.positions, (Positions{2, 3, 0, 2}));  // of the two 8s the first
  EXPECT_EQ(PoolingBackward(shape, {1, 2, 3, 4}, result.positions),
            (Values{0, 0, 0, 4, 0, 2, 0, 4, 0}));
}

TEST(ReferencePooling, MaxIgnoresPaddingAndKeepsTheFirstNaN) {
  const auto shape = Shape(PoolingShape::Kind::kMax, 3, 2, 1);
  const auto result = PoolingForward(shape, {-1, -2, -3, -4, -5, -6, -7, NAN, NAN});
  EXPECT_EQ(result.y[0], -1);
  EXPECT_EQ(result.y[1], -2);
  EXPECT_TRUE(std::isnan(result.y[2]));
  EXPECT_EQ(result.positions, (Positions{4, 3, 5, 3}));
}

TEST(ReferencePooling, Average) {
  auto shape = Shape(PoolingShape::Kind::kAverage, 2, 2, 1);
  const std::vector<float> x = {4, 8, 12, 16, 20, 24, 28, 32, 36};
  EXPECT_EQ(PoolingForward(shape, x).y, (Values{1, 5, 11, 28}));
  EXPECT_EQ(PoolingBackward(shape, {4, 8, 12, 16}, {}), (Values{1, 2, 2, 3, 4, 4, 3, 4, 4}));
  shape.count_include_padding = false;
  EXPECT_EQ(PoolingForward(shape, x).y, (Values{4, 10, 22, 28}));
  EXPECT_EQ(PoolingBackward(shape, {4, 8, 12, 16}, {}), (Values{4, 4, 4, 6, 4, 4, 6, 4, 4}));
}

TEST(ReferencePooling, GlobalAverage) {
  const GlobalAveragePoolingShape shape{2, 2, 2};
  EXPECT_EQ(GlobalAveragePoolingForward(shape, {1, 2, 3, 4, 5, 6, 7, 8}), (Values{2, 3, 6, 7}));
  EXPECT_EQ(GlobalAveragePoolingBackward(shape, {2, 4, 6, 8}), (Values{1, 2, 1, 2, 3, 4, 3, 4}));
}

TEST(ReferencePadShortcut, TakesEverySecondPixelAndPads) {
  const PadShortcutShape shape{
      .batch = 1, .height = 3, .width = 2, .channels = 1, .out_channels = 4, .stride = 2};
  EXPECT_EQ(PadShortcutForward(shape, {1, 2, 3, 4, 5, 6}), (Values{0, 1, 0, 0, 0, 5, 0, 0}));
  EXPECT_EQ(PadShortcutBackward(shape, {1, 2, 3, 4, 5, 6, 7, 8}), (Values{2, 0, 0, 0, 6, 0}));
}

}  // namespace
}  // namespace thinwire::reference
