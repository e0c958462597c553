#include "datasets/draw_mix.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire {
namespace {

ImageMix Draw(const MixOptions& options, int64_t index, int64_t rank = 0) {
  return DrawMix(options, {.seed = 3, .epoch = 1, .index = index, .rank = rank}, 20, 30);
}

TEST(DrawMix, SharesAreOfTheBetaDistribution) {
  for (const double alpha : {0.001, 0.2, 1.0, 4.0}) {
    constexpr int kDraws = 20000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double off = double{Draw({.mixup = alpha}, i).own_label} - 0.5;
      sum += off;
      squares += off * off;
    }
    // Within six standard errors, of numbers of at most 1/2 and squares of at most 1/4.
    EXPECT_NEAR(sum / kDraws, 0, 6 * 0.5 / std::sqrt(kDraws));
    EXPECT_NEAR(squares / kDraws, 1 / (4 * (2 * alpha + 1)), 6 * 0.125 / std::sqrt(kDraws));
  }
}

TEST(DrawMix, TakesOneOfTheTwoAndTheBoxesRealArea) {
  int boxes = 0;
  for (int i = 0; i < 2000; ++i) {
    const ImageMix mix = Draw({.mixup = 1, .cutmix = 1}, i);
    if (mix.own_pixels != 0) {
      EXPECT_EQ(mix.own_pixels, mix.own_label);
      continue;
    }
    ++boxes;
    ASSERT_TRUE(0 <= mix.top && mix.top <= mix.bottom && mix.bottom <= 20);
    ASSERT_TRUE(0 <= mix.left && mix.left <= mix.right && mix.right <= 30);
    const int area = (mix.bottom - mix.top) * (mix.right - mix.left);
    EXPECT_FLOAT_EQ(mix.own_label, static_cast<float>(1 - area / 600.0));
  }
  EXPECT_NEAR(boxes, 1000, 6 * std::sqrt(500));
}

TEST(DrawMix, DependsOnBatchAndRankAlone) {
  const MixOptions options{.mixup = 0.5};
  EXPECT_EQ(Draw(options, 4).own_label, Draw(options, 4).own_label);
  EXPECT_NE(Draw(options, 4).own_label, Draw(options, 5).own_label);
  EXPECT_NE(Draw(options, 4).own_label, Draw(options, 4, 1).own_label);
}

}  // namespace
}  // namespace thinwire
