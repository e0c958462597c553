// Pooling and the padding shortcut against the float64 loops.
#include "tests/reference/pooling.h"

#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectExact;
using reference::ExpectNear;
using reference::Tolerance;

template <typename Backend>
class PoolingTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(PoolingTest, Backends);

PoolingShape Square(PoolingShape::Kind kind, int64_t size, int64_t channels, int64_t window,
                    int64_t stride, int64_t padding) {
  return {.kind = kind,
          .batch = 3,
          .height = size,
          .width = size + 1,
          .channels = channels,
          .window_height = window,
          .window_width = window,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding};
}

std::vector<PoolingShape> Shapes(PoolingShape::Kind kind) {
  std::vector<PoolingShape> shapes;
  for (const int64_t channels : {1, 3, 16, 31, 32, 33, 64, 127}) {
    shapes.push_back(Square(kind, 8, channels, 2, 2, 0));
    shapes.push_back(Square(kind, 9, channels, 3, 2, 1));
    shapes.push_back(Square(kind, 7, channels, 3, 1, 1));
    shapes.push_back(Square(kind, 6, channels, 2, 3, 0));  // pixels that no window covers
    shapes.push_back(Square(kind, 5, channels, 5, 1, 0));
  }
  shapes.push_back({.kind = kind,
                    .batch = 2,
                    .height = 5,
                    .width = 11,
                    .channels = 7,
                    .window_height = 3,
                    .window_width = 4,
                    .stride_height = 1,
                    .stride_width = 3,
                    .padding_height = 1,
                    .padding_width = 2});
  shapes.push_back({.kind = kind, .batch = 0, .height = 4, .width = 4, .channels = 8});
  return shapes;
}

int64_t InputSize(const PoolingShape& s) { return s.batch * s.height * s.width * s.channels; }
int64_t OutputSize(const PoolingShape& s) {
  return s.batch * s.out_height() * s.out_width() * s.channels;
}

TYPED_TEST(PoolingTest, MaxIsExact) {
  Device& device = *this->device_;
  for (const PoolingShape& shape : Shapes(PoolingShape::Kind::kMax)) {
    SCOPED_TRACE(::testing::Message() << shape.channels << " channels, window "
                                      << shape.window_width << ", stride " << shape.stride_width);
    auto x = RandomNormal(InputSize(shape), 1);
    for (float& value : x) value = std::round(value * 2);  // ties
    for (size_t i = 5; i < x.size(); i += 41) x[i] = std::numeric_limits<float>::quiet_NaN();
    for (size_t i = 7; i < x.size(); i += 5) x[i] = -std::numeric_limits<float>::infinity();
    const auto gradient = RandomNormal(OutputSize(shape), 2);
    TestBuffer<float> x_buffer(device, x, 1), y(device, OutputSize(shape), 2),
        y_gradient(device, gradient, 3), x_gradient(device, InputSize(shape), 1);
    const auto pooling = device.MakePooling(shape);
    ASSERT_EQ(pooling->saved_bytes(), OutputSize(shape));
    TestBuffer<uint8_t> saved(device, pooling->saved_bytes(), 1);
    pooling->Forward(x_buffer, y, saved);
    const auto expected = reference::PoolingForward(shape, x);
    ExpectExact(y.Read(), expected.y);
    EXPECT_EQ(saved.Read(), expected.positions);
    pooling->Backward(y_gradient, saved, x_gradient);
    const auto expected_gradient = reference::PoolingBackward(shape, gradient, expected.positions);
    const double windows = static_cast<double>(shape.window_height * shape.window_width);
    ExpectNear(x_gradient.Read(), expected_gradient,
               [&](size_t) { return Tolerance(windows, 5 * windows); });
    TestBuffer<float> y_only(device, OutputSize(shape));
    pooling->Forward(x_buffer, y_only, {});
    ExpectExact(y_only.Read(), expected.y);
  }
}

TYPED_TEST(PoolingTest, Average) {
  Device& device = *this->device_;
  for (PoolingShape shape : Shapes(PoolingShape::Kind::kAverage)) {
    for (const bool count_padding : {true, false}) {
      shape.count_include_padding = count_padding;
      SCOPED_TRACE(::testing::Message()
                   << shape.channels << " channels, window " << shape.window_width << ", stride "
                   << shape.stride_width << ", padding counts " << count_padding);
      const auto x = RandomNormal(InputSize(shape), 1);
      const auto gradient = RandomNormal(OutputSize(shape), 2);
      TestBuffer<float> x_buffer(device, x, 1), y(device, OutputSize(shape), 2),
          y_gradient(device, gradient, 3), x_gradient(device, InputSize(shape), 1);
      const auto pooling = device.MakePooling(shape);
      EXPECT_EQ(pooling->saved_bytes(), 0);
      pooling->Forward(x_buffer, y, {});
      // A window's sum in float32, its factor and the product; normal values stay below 6.
      const int64_t area = shape.window_height * shape.window_width;
      const double tolerance = Tolerance(static_cast<double>(area) + 2, 6);
      ExpectNear(y.Read(), reference::PoolingForward(shape, x).y,
                 [&](size_t) { return tolerance; });
      pooling->Backward(y_gradient, {}, x_gradient);
      ExpectNear(x_gradient.Read(), reference::PoolingBackward(shape, gradient, {}),
                 [&](size_t) { return tolerance; });
    }
  }
}

TYPED_TEST(PoolingTest, GlobalAverage) {
  Device& device = *this->device_;
  for (const int64_t batch : {0, 1, 3}) {
    for (const int64_t pixels : {1, 31, 49, 64, 1025}) {
      for (const int64_t channels : {1, 33, 127, 512}) {
        SCOPED_TRACE(::testing::Message() << batch << " x " << pixels << " x " << channels);
        const GlobalAveragePoolingShape shape{batch, pixels, channels};
        const auto x = RandomNormal(batch * pixels * channels, 1);
        const auto gradient = RandomNormal(batch * channels, 2);
        TestBuffer<float> x_buffer(device, x, 1), y(device, batch * channels, 2),
            y_gradient(device, gradient, 1), x_gradient(device, batch * pixels * channels, 3);
        const auto pooling = device.MakeGlobalAveragePooling(shape);
        pooling->Forward(x_buffer, y);
        // lambda = 7 (see Tolerance) over the mean of magnitudes, below 1 for normal values, and
        // two more roundings.
        ExpectNear(y.Read(), reference::GlobalAveragePoolingForward(shape, x),
                   [&](size_t) { return Tolerance(7, 1, pixels) + Tolerance(2, 1); });
        pooling->Backward(y_gradient, x_gradient);
        ExpectNear(x_gradient.Read(), reference::GlobalAveragePoolingBackward(shape, gradient),
                   [&](size_t) { return Tolerance(2, 6.0 / static_cast<double>(pixels)); });
      }
    }
  }
}

TYPED_TEST(PoolingTest, PadShortcutIsExact) {
  Device& device = *this->device_;
  for (const int64_t size : {1, 7, 8}) {
    for (const int64_t channels : {1, 16, 33}) {
      for (const int64_t added : {0, 1, 16, 33}) {
        for (const int64_t stride : {1, 2, 3}) {
          const PadShortcutShape shape{.batch = 3,
                                       .height = size,
                                       .width = size + 2,
                                       .channels = channels,
                                       .out_channels = channels + added,
                                       .stride = stride};
          const int64_t in = 3 * size * (size + 2) * channels;
          const int64_t out = 3 * shape.out_height() * shape.out_width() * shape.out_channels;
          const auto x = RandomNormal(in, 1), gradient = RandomNormal(out, 2);
          TestBuffer<float> x_buffer(device, x, 1), y(device, out, 2),
              y_gradient(device, gradient, 3), x_gradient(device, in, 1);
          const auto shortcut = device.MakePadShortcut(shape);
          shortcut->Forward(x_buffer, y);
          ExpectExact(y.Read(), reference::PadShortcutForward(shape, x));
          shortcut->Backward(y_gradient, x_gradient);
          ExpectExact(x_gradient.Read(), reference::PadShortcutBackward(shape, gradient));
        }
      }
    }
  }
}

TYPED_TEST(PoolingTest, RefusesImpossibleShapes) {
  Device& device = *this->device_;
  const auto max = PoolingShape::Kind::kMax;
  EXPECT_THROW(device.MakePooling(Square(max, 2, 8, 5, 1, 0)), Error);    // window over image
  EXPECT_THROW(device.MakePooling(Square(max, 8, 8, 2, 2, 2)), Error);    // only padding seen
  EXPECT_THROW(device.MakePooling(Square(max, 8, 8, 2, 0, 0)), Error);    // no stride
  EXPECT_THROW(device.MakePooling(Square(max, 40, 8, 17, 1, 0)), Error);  // position over a byte
  EXPECT_THROW(device.MakePooling(Square(max, 8, 0, 2, 2, 0)), Error);    // no channels
  EXPECT_THROW(device.MakeGlobalAveragePooling({1, 0, 8}), Error);
  EXPECT_THROW(
      device.MakePadShortcut(
          {.batch = 1, .height = 4, .width = 4, .channels = 8, .out_channels = 4, .stride = 2}),
      Error);
}

}  // namespace
}  // namespace thinwire
