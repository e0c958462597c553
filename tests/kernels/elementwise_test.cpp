// Elementwise passes against the float64 loops.
#include "tests/reference/elementwise.h"

#include <cmath>
#include <limits>

#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectExact;
using reference::ExpectNear;
using reference::Tolerance;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kSizes[] = {0, 1, 31, 32, 33, 127, 128, 129, 255, 256, 257, 7919, (1 << 20) + 7};

template <typename Backend>
class ElementwiseTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(ElementwiseTest, Backends);

/// Normal values with some zeros, NaN and infinities among them.
std::vector<float> Awkward(int64_t size, uint64_t seed) {
  std::vector<float> values = RandomNormal(size, seed);
  const float special[] = {kNaN, kInfinity, -kInfinity, 0.0f, -0.0f};
  for (size_t i = seed % 7; i < values.size(); i += 7) values[i] = special[i / 7 % 5];
  return values;
}

TYPED_TEST(ElementwiseTest, AddIsExact) {
  Device& device = *this->device_;
  int64_t shift = 0;
  for (const int64_t size : kSizes) {
    for (const bool relu : {false, true}) {
      SCOPED_TRACE(::testing::Message() << size << " relu " << relu);
      const auto a = Awkward(size, 1), b = Awkward(size, 4);
      TestBuffer<float> a_buffer(device, a, shift % 3), b_buffer(device, b, shift % 5);
      TestBuffer<float> y(device, size, shift++ % 4);
      device.Add(a_buffer, b_buffer, relu, y);
      ExpectExact(y.Read(), reference::Add(a, b, relu));
      device.Add(a_buffer, b_buffer, relu, b_buffer);  // in place
      ExpectExact(b_buffer.Read(), reference::Add(a, b, relu));
    }
  }
}

// Sums of float32 numbers that are not too far apart are exact in float64.
TYPED_TEST(ElementwiseTest, Float64PassesAreAsExactAsFloat64) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    const auto a = Awkward(size, 1), b = Awkward(size, 4), x = RandomNormal(size, 6);
    TestBuffer<double> a_buffer(device, {a.begin(), a.end()}, 1), y(device, size, 2);
    TestBuffer<double> b_buffer(device, {b.begin(), b.end()}, 3);
    for (const bool relu : {false, true}) {
      device.Add(a_buffer, b_buffer, relu, y);
      ExpectExact(y.Read(), reference::Add(a, b, relu));
    }
    TestBuffer<double> x_buffer(device, {x.begin(), x.end()}, 1);
    const auto before = RandomNormal(size, 7);
    TestBuffer<double> average(device, {before.begin(), before.end()}, 2);
    device.Average(x_buffer, 0.9, average);
    ExpectNear(average.Read(), reference::Average(x, 0.9, before), [&](size_t i) {
      return Tolerance<double>(3, std::abs(x[i]) + std::abs(before[i]));
    });
    device.Scale(x_buffer, 0.1, y);
    const auto scaled = y.Read();
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(scaled[i], 0.1 * double{x[i]}) << i;
  }
}

TYPED_TEST(ElementwiseTest, ReluIsExactAndKeepsNaN) {
  Device& device = *this->device_;
  int64_t shift = 0;
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    const auto x = Awkward(size, 2), gradient = Awkward(size, 3);
    TestBuffer<float> y(device, size, shift++ % 4), x_gradient(device, size, shift % 3);
    TestBuffer<float> x_buffer(device, x, 1), y_gradient(device, gradient, 2);
    device.Relu(x_buffer, y);
    ExpectExact(y.Read(), reference::Relu(x));
    device.ReluBackward(y, y_gradient, x_gradient);
    ExpectExact(x_gradient.Read(), reference::ReluBackward(y.Read(), gradient));
    device.ReluBackward(y, y_gradient, y_gradient);
    ExpectExact(y_gradient.Read(), reference::ReluBackward(y.Read(), gradient));
  }
}

TYPED_TEST(ElementwiseTest, ScaleIsExactForPowersOfTwo) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    const auto x = RandomNormal(size, 5);
    TestBuffer<float> x_buffer(device, x, 3), y(device, size, 1);
    device.Scale(x_buffer, 0.25f, y);
    const auto actual = y.Read();
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(actual[i], 0.25f * x[i]) << i;
  }
}

TYPED_TEST(ElementwiseTest, AverageMovesTowardsX) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    const auto x = RandomNormal(size, 6), average = RandomNormal(size, 7);
    TestBuffer<float> x_buffer(device, x, 1), average_buffer(device, average, 2);
    device.Average(x_buffer, 0.9, average_buffer);
    // Both factors, both products and the sum round once.
    ExpectNear(average_buffer.Read(), reference::Average(x, 0.9, average),
               [&](size_t i) { return Tolerance(3, std::abs(x[i]) + std::abs(average[i])); });
  }
}

TYPED_TEST(ElementwiseTest, DropoutIsAPureFunctionOfSeedStepAndIndex) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    for (const float rate : {0.0f, 0.3f, 0.5f, 1.0f}) {
      SCOPED_TRACE(::testing::Message() << size << " rate " << rate);
      const auto x = RandomNormal(size, 8);
      TestBuffer<float> x_buffer(device, x, 1), y(device, size, 2);
      device.Dropout(x_buffer, rate, 0x123456789ABCDEF0u, 42, y);
      // 1 - rate, its inverse and the product round once each.
      ExpectNear(y.Read(), reference::Dropout(x, rate, 0x123456789ABCDEF0u, 42),
                 [&](size_t i) { return Tolerance(2, std::abs(x[i]) / (1 - rate)); });
    }
  }
}

TYPED_TEST(ElementwiseTest, DropoutDropsNaN) {
  Device& device = *this->device_;
  TestBuffer<float> x(device, {kNaN, kInfinity, 1.0f});
  device.Dropout(x, 1.0f, 1, 1, x);
  EXPECT_EQ(x.Read(), std::vector<float>(3, 0.0f));
}

TYPED_TEST(ElementwiseTest, CopiesAndZeroesAnyType) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    std::vector<uint8_t> bytes(static_cast<size_t>(size));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 11);
    TestBuffer<uint8_t> source(device, bytes, 5), destination(device, size, 3);
    device.Copy(source, destination);
    EXPECT_EQ(destination.Read(), bytes);
    device.Zero(destination);
    EXPECT_EQ(destination.Read(), std::vector<uint8_t>(bytes.size(), 0));
    const auto floats = RandomNormal(size, 9);
    TestBuffer<float> from(device, floats, 1), to(device, size, 2);
    device.Copy(from, to);
    EXPECT_EQ(to.Read(), floats);
  }
}

}  // namespace
}  // namespace thinwire
