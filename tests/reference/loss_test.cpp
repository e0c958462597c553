// The reference itself, against values worked out by hand.
#include "tests/reference/loss.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire::reference {
namespace {

TEST(ReferenceLoss, CrossEntropyOfTwoClasses) {
  const float log3 = static_cast<float>(std::log(3.0));
  const auto out = CrossEntropy({.batch = 2, .classes = 2}, {log3, 0, log3, 0}, {0, 1}, 2);
  EXPECT_NEAR(out.result.loss_sum, std::log(4.0 / 3) + std::log(4.0), 1e-6);
  EXPECT_EQ(out.result.rows, 2);
  EXPECT_EQ(out.result.correct_top1, 1);
  EXPECT_EQ(out.result.correct_top5, 2);
  const double expected[] = {-0.5, 0.5, 1.5, -1.5};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(out.logits_gradient[i], expected[i], 1e-6);
}

TEST(ReferenceLoss, SmoothsLabelsAndIgnoresNegativeOnes) {
  const float log3 = static_cast<float>(std::log(3.0));
  const LossShape shape{.batch = 2, .classes = 2, .label_smoothing = 0.5f};
  const auto out = CrossEntropy(shape, {log3, 0, 7, 8}, {0, -1}, 1);
  EXPECT_NEAR(out.result.loss_sum, 0.75 * std::log(4.0 / 3) + 0.25 * std::log(4.0), 1e-6);
  EXPECT_EQ(out.result.rows, 1);
  EXPECT_NEAR(out.logits_gradient[0], 0.75 - 0.75, 1e-6);
  EXPECT_EQ(out.logits_gradient[2], 0);
}

TEST(ReferenceLoss, MixesLabels) {
  const float log3 = static_cast<float>(std::log(3.0));
  const auto out = CrossEntropy({.batch = 2, .classes = 2}, {log3, 0, log3, 0}, {0, 1}, 1, 0.25);
  EXPECT_NEAR(out.result.loss_sum, std::log(4.0 / 3) + std::log(4.0), 1e-6);
  EXPECT_NEAR(out.logits_gradient[0], 0.75 - 0.25, 1e-6);
  EXPECT_NEAR(out.logits_gradient[2], 0.75 - 0.75, 1e-6);
  EXPECT_EQ(out.result.correct_top1, 1);
}

TEST(ReferenceLoss, TiesGoToTheLowerIndexAndNonFiniteIsWrong) {
  const LossShape shape{.batch = 3, .classes = 2};
  const auto out = CrossEntropy(shape, {1, 1, 1, 1, 9, -INFINITY}, {0, 1, 0}, 1);
  EXPECT_EQ(out.result.correct_top1, 1);
  EXPECT_EQ(out.result.correct_top5, 2);
  EXPECT_TRUE(std::isnan(out.result.loss_sum));
  EXPECT_TRUE(std::isnan(out.logits_gradient[4]));
}

}  // namespace
}  // namespace thinwire::reference
