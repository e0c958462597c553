// Linear layers against the float64 loops.
#include "tests/reference/linear.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

void ExpectNear(const std::vector<float>& actual, const std::vector<double>& expected, int64_t n,
                DataType type = DataType::kFloat32) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i],
                reference::Stored(type, reference::SumTolerance(n), expected[i]))
        << "at " << i;
  }
}

void ExpectAgreesWithReference(Device& device, const LinearShape& shape) {
  const auto& [batch, in, out, has_bias, gradients, type] = shape;
  SCOPED_TRACE(::testing::Message() << batch << " " << in << " " << out << " " << has_bias);
  const auto x = RoundTo(type, RandomNormal(batch * in, 1)),
             w = RoundTo(type, RandomNormal(out * in, 2)),
             b = RoundTo(type, RandomNormal(has_bias ? out : 0, 3)),
             dy = RoundTo(type, RandomNormal(batch * out, 4));
  ActivationBuffer input(device, type, x, LeftFree(device, 1)),
      weight(device, type, w, LeftFree(device, 3)), bias(device, type, b),
      output_gradient(device, type, dy, LeftFree(device, 5)),
      output(device, type, batch * out, LeftFree(device, 7)),
      input_gradient(device, type, batch * in, LeftFree(device, 1));
  TestBuffer<float> weight_gradient(device, out * in, LeftFree(device, 2)),
      bias_gradient(device, has_bias ? out : 0);
  const auto linear = device.MakeLinear(shape);
  linear->Forward(input, weight, has_bias ? bias.view() : View{}, output);
  linear->BackwardData(output_gradient, weight, input_gradient);
  linear->BackwardWeights(input, output_gradient, weight_gradient,
                          has_bias ? bias_gradient.view() : View{});
  ExpectNear(output.Read(), reference::LinearForward(shape, x, w, b), in, type);
  ExpectNear(input_gradient.Read(), reference::LinearBackwardData(shape, dy, w), out, type);
  const auto expected = reference::LinearBackwardWeights(shape, x, dy);
  ExpectNear(weight_gradient.Read(), expected.weight, batch);
  if (has_bias) ExpectNear(bias_gradient.Read(), expected.bias, batch);
}

template <typename Backend>
class LinearTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(LinearTest, Backends);

TYPED_TEST(LinearTest, AgreesWithTheReference) {
  for (const int64_t batch : {0, 1, 5, 33}) {
    for (const int64_t in : {1, 31, 32, 127, 513}) {
      for (const int64_t out : {1, 10, 33}) {
        for (const bool bias : {false, true}) {
          ExpectAgreesWithReference(*this->device_, {batch, in, out, bias});
        }
      }
    }
  }
}

TYPED_TEST(LinearTest, AgreesInBFloat16) {
  for (const int64_t batch : {0, 1, 5, 33}) {
    for (const int64_t in : {1, 32, 127, 513}) {
      for (const int64_t out : {1, 10, 33}) {
        for (const bool bias : {false, true}) {
          ExpectAgreesWithReference(*this->device_,
                                    {batch, in, out, bias, {}, DataType::kBFloat16});
        }
      }
    }
  }
}

TYPED_TEST(LinearTest, PlansOnlyTheGradientsThatAreUsed) {
  const auto device = TypeParam::Make();
  TestBuffer<float> x(*device, RandomNormal(5 * 7, 1)), w(*device, RandomNormal(3 * 7, 2)),
      b(*device, RandomNormal(3, 3)), y(*device, 5 * 3), other_y(*device, 5 * 3);
  device->MakeLinear({5, 7, 3, true})->Forward(x, w, b, y);
  const auto linear = device->MakeLinear({5, 7, 3, true, {.data = false, .weights = false}});
  linear->Forward(x, w, b, other_y);
  EXPECT_EQ(other_y.Read(), y.Read());
  EXPECT_THROW(linear->BackwardData(y, w, x), Error);
  EXPECT_THROW(linear->BackwardWeights(x, y, w, b), Error);
}

TYPED_TEST(LinearTest, RefusesShapesWithoutFeatures) {
  EXPECT_THROW(this->device_->MakeLinear({1, 0, 10, true}), Error);
  EXPECT_THROW(this->device_->MakeLinear({1, 10, 0, true}), Error);
  EXPECT_THROW(this->device_->MakeLinear({-1, 10, 10, true}), Error);
}

}  // namespace
}  // namespace thinwire
