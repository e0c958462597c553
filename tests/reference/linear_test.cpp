// The reference itself, against values worked out by hand.
#include "tests/reference/linear.h"

#include <gtest/gtest.h>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;

TEST(ReferenceLinear, MultipliesByTheTransposedWeight) {
  const LinearShape shape{.batch = 2, .in_features = 3, .out_features = 2, .bias = true};
  const std::vector<float> input = {1, 2, 3, 4, 5, 6};
  const std::vector<float> weight = {1, 10, 100, 2, 20, 200};
  EXPECT_EQ(LinearForward(shape, input, weight, {0.5f, -1}), (Values{321.5, 641, 654.5, 1307}));
  EXPECT_EQ(LinearBackwardData(shape, {1, 2, 3, 4}, weight), (Values{5, 50, 500, 11, 110, 1100}));
  const LinearGradients gradients = LinearBackwardWeights(shape, input, {1, 2, 3, 4});
  EXPECT_EQ(gradients.weight, (Values{13, 17, 21, 18, 24, 30}));
  EXPECT_EQ(gradients.bias, (Values{4, 6}));
}

}  // namespace
}  // namespace thinwire::reference
