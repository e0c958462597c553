// The reference itself, against values worked out by hand.
#include "tests/reference/regression.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire::reference {
namespace {

// Rows (1, 0, 2), (0, 3, 0), ().
const std::vector<int64_t> kStarts = {0, 2, 3, 3};
const std::vector<int32_t> kColumns = {0, 2, 1};
const std::vector<double> kValues = {1, 2, 3};

SparseRows Rows(const std::vector<int32_t>& labels) {
  return {3, 3, kStarts, kColumns, kValues, labels};
}

TEST(ReferenceRegression, OfTwoClasses) {
  const std::vector<int32_t> labels = {1, 0, 0};
  const RegressionShape shape{.data = Rows(labels)};
  const double log3 = std::log(3.0);
  // Scores log 3, log 3 and 0: probabilities of class 1 are 3/4, 3/4 and 1/2.
  const auto out = EvaluateRegression(shape, {0, 1, 2}, {log3, log3 / 3, 0});
  EXPECT_NEAR(out.result.loss_sum, std::log(4.0 / 3) + std::log(4.0) + std::log(2.0), 1e-15);
  EXPECT_EQ(out.result.rows, 3);
  EXPECT_EQ(out.result.correct, 2);
  const double expected[] = {-0.25 / 3, 0.75 * 3 / 3, -0.25 * 2 / 3};
  for (size_t j = 0; j < 3; ++j) EXPECT_NEAR(out.gradient[j], expected[j], 1e-16);
}

TEST(ReferenceRegression, OfThreeClasses) {
  const std::vector<int32_t> labels = {2, 0, 0};
  const RegressionShape shape{.data = Rows(labels), .classes = 3};
  const double log2 = std::log(2.0);
  // Row 0 scores (0, 0, log 2), row 1 (0, 0, 0): probabilities (1/4, 1/4, 1/2) and thirds.
  const auto out = EvaluateRegression(shape, {0, 1}, {0, 0, 0, 0, 0, 0, 0, 0, log2 / 2});
  EXPECT_NEAR(out.result.loss_sum, log2 + std::log(3.0), 1e-15);
  EXPECT_EQ(out.result.correct, 2);
  const double expected[] = {0.25 / 2, -2.0 / 2, 0.5 / 2, 0.25 / 2, 0.5,
                             0.5 / 2,  -0.5 / 2, 0.5,     -1.0 / 2};
  for (size_t j = 0; j < 9; ++j) EXPECT_NEAR(out.gradient[j], expected[j], 1e-16) << j;
}

TEST(ReferenceRegression, Regulariser) {
  std::vector<double> gradient = {1, 1, 1};
  EXPECT_NEAR(AddRegulariser(0.1, {0, 1, -2}, gradient), 0.1 * (0.5 + 0.8), 1e-16);
  EXPECT_NEAR(gradient[0], 1, 0);
  EXPECT_NEAR(gradient[1], 1 + 0.1 * 0.5, 1e-16);
  EXPECT_NEAR(gradient[2], 1 - 0.1 * 4 / 25, 1e-16);
}

}  // namespace
}  // namespace thinwire::reference
