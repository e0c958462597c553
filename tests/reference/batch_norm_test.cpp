// The reference itself, against values worked out by hand and against finite differences.
#include "tests/reference/batch_norm.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;

TEST(ReferenceBatchNorm, FindsTheMoments) {
  const BatchNormShape shape{.rows = 4, .channels = 2, .epsilon = 0, .momentum = 0.5f};
  const auto s = BatchNormMoments(shape, {1, 0, 3, 0, 5, 0, 7, 4}, {0, 2}, {1, 1});
  EXPECT_EQ(s.mean, (Values{4, 1}));
  EXPECT_EQ(s.variance, (Values{5, 3}));
  EXPECT_EQ(s.inverse_deviation, (Values{1 / std::sqrt(5.0), 1 / std::sqrt(3.0)}));
  EXPECT_EQ(s.running_mean, (Values{2, 1.5}));
  EXPECT_DOUBLE_EQ(s.running_variance[0], 0.5 + 0.5 * 20 / 3);
  EXPECT_DOUBLE_EQ(s.running_variance[1], 0.5 + 0.5 * 4);
}

TEST(ReferenceBatchNorm, NormalisesAddsAndCuts) {
  BatchNormShape shape{.rows = 2, .channels = 1};
  EXPECT_EQ(BatchNormForward(shape, {1, 5}, {}, {2}, {-1}, {3}, {0.5}), (Values{-3, 1}));
  shape.residual = true;
  EXPECT_EQ(BatchNormForward(shape, {1, 5}, {1, 2}, {2}, {-1}, {3}, {0.5}), (Values{-2, 3}));
  shape.relu = true;
  EXPECT_EQ(BatchNormForward(shape, {1, 5}, {1, 2}, {2}, {-1}, {3}, {0.5}), (Values{0, 3}));
}

// The loss is the weighted sum of y; its derivative by each x is known to h^2 from two values.
TEST(ReferenceBatchNorm, GradientAgreesWithFiniteDifferences) {
  const BatchNormShape shape{.rows = 5, .channels = 1, .residual = true, .relu = true};
  const std::vector<float> x = {0.5f, -1, 2, 0.25f, 1}, residual = {0.5f, 2, 1, -4, 0.25f};
  const std::vector<float> scale = {1.5f}, shift = {0.25f}, weight = {1, -2, 0.5f, 3, 1};
  auto forward = [&](const std::vector<float>& at, BatchNormStatistics& s) {
    s = BatchNormMoments(shape, at, {0}, {1});
    return BatchNormForward(shape, at, residual, scale, shift, s.mean, s.inverse_deviation);
  };
  auto loss = [&](const std::vector<float>& at) {
    BatchNormStatistics s;
    double sum = 0;
    const Values y = forward(at, s);
    for (size_t i = 0; i < y.size(); ++i) sum += weight[i] * y[i];
    return sum;
  };
  BatchNormStatistics s;
  const Values y = forward(x, s);
  const auto gradients = BatchNormBackward(shape, x, {y.begin(), y.end()}, weight, {}, scale,
                                           s.mean, s.inverse_deviation, {});
  constexpr float h = 0x1p-10f;
  for (size_t i = 0; i < x.size(); ++i) {
    auto above = x, below = x;
    above[i] += h;
    below[i] -= h;
    EXPECT_NEAR(gradients.x[i], (loss(above) - loss(below)) / (2 * h), 10 * h * h) << i;
  }
}

TEST(ReferenceBatchNorm, MasksAndSumsTheGradients) {
  const BatchNormShape shape{.rows = 2, .channels = 1, .relu = true};
  const auto gradients =
      BatchNormBackward(shape, {1, 5}, {0, 1}, {10, 20}, {1, 2}, {2}, {3}, {0.5}, {100, 200});
  EXPECT_EQ(gradients.residual, (Values{0, 22}));
  EXPECT_EQ(gradients.shift, (Values{22}));
  EXPECT_EQ(gradients.scale, (Values{22}));
  EXPECT_EQ(gradients.x, (Values{100, 200}));  // with two rows nothing of x is left
}

}  // namespace
}  // namespace thinwire::reference
