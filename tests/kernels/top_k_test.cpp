// Top-K against a stable sort in float64.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/compression.h"
#include "tests/device_test.h"
#include "tests/reference/compression.h"

namespace thinwire {
namespace {

using Values = std::vector<double>;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename T>
std::vector<T> As(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

template <typename Backend>
class TopKTest : public DeviceTest<Backend> {
 protected:
  /// Selects on the device as float32 and as float64, and compares.
  void Check(TopKShape shape, const std::vector<float>& v) {
    CheckAs<float>(shape, v);
    CheckAs<double>(shape, v);
  }

  template <typename T>
  void CheckAs(TopKShape shape, const std::vector<float>& v) {
    shape.type = DataTypeOf<T>();
    SCOPED_TRACE(::testing::Message()
                 << shape.size << " elements, k " << shape.k << ", " << sizeof(T) << " bytes");
    Device& device = *this->device_;
    const auto top_k = device.MakeTopK(shape);
    const TestBuffer<T> input(device, As<T>(v), 1);
    const TestBuffer<int32_t> indices(device, shape.k, 1);
    const TestBuffer<T> values(device, shape.k, 2);
    top_k->Select({.values = input}, {}, 0, indices, values);
    const auto expected = reference::SelectTopK(shape, {v.begin(), v.end()});
    ASSERT_EQ(indices.Read(), expected.indices);
    const auto read = values.Read();
    for (size_t i = 0; i < read.size(); ++i) {
      if (std::isnan(expected.values[i])) {
        ASSERT_TRUE(std::isnan(read[i])) << i;
      } else {
        ASSERT_EQ(static_cast<double>(read[i]), expected.values[i]) << i;
      }
    }
  }

  void CheckAllK(TopKShape shape, const std::vector<float>& v) {
    int64_t elements = 0;
    for (const Range& range : shape.ranges) elements += range.size();
    for (const int64_t k : {int64_t{1}, int64_t{2}, elements / 60, elements / 3, elements / 2,
                            elements - 1, elements}) {
      if (k < 1 || k > elements) continue;
      shape.k = k;
      Check(shape, v);
    }
  }
};
TYPED_TEST_SUITE(TopKTest, Backends);

constexpr int64_t kSizes[] = {1, 2, 31, 32, 33, 127, 128, 129, 257, 7919, 100'003, 1'000'007};

TYPED_TEST(TopKTest, NormalValues) {
  for (const int64_t size : kSizes) {
    this->CheckAllK({.size = size, .ranges = {{0, size}}}, RandomNormal(size, 1));
  }
}

// Heavy tails: most of the norm in few elements, many orders of magnitude, zeros and denormals.
TYPED_TEST(TopKTest, ManyMagnitudes) {
  for (const int64_t size : kSizes) {
    auto v = RandomNormal(size, 2);
    for (float& value : v) value = std::ldexp(value, static_cast<int>(value * 40));
    this->CheckAllK({.size = size, .ranges = {{0, size}}}, v);
  }
}

TYPED_TEST(TopKTest, TiesGoToTheLowerIndex) {
  for (const int64_t size : kSizes) {
    auto v = RandomNormal(size, 3);
    for (float& value : v) value = std::round(value);  // few magnitudes, zeros of both signs
    this->CheckAllK({.size = size, .ranges = {{0, size}}}, v);
    const size_t n = v.size();
    this->CheckAllK({.size = size, .ranges = {{0, size}}}, std::vector<float>(n, -2.5f));
    this->CheckAllK({.size = size, .ranges = {{0, size}}}, std::vector<float>(n));
  }
}

TYPED_TEST(TopKTest, NeighboursInTheLastBitAreToldApart) {
  std::vector<float> v(200'001);
  for (size_t i = 0; i < v.size(); ++i) {
    const uint32_t bits = 0x3F800000u + static_cast<uint32_t>(i * 7919 % v.size());
    std::memcpy(&v[i], &bits, sizeof(bits));
    if (i % 3 == 0) v[i] = -v[i];
  }
  const int64_t size = static_cast<int64_t>(v.size());
  this->CheckAllK({.size = size, .ranges = {{0, size}}}, v);
}

TYPED_TEST(TopKTest, RisingAndFallingValues) {
  std::vector<float> v(50'000);
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
  const int64_t size = static_cast<int64_t>(v.size());
  this->CheckAllK({.size = size, .ranges = {{0, size}}}, v);
  std::reverse(v.begin(), v.end());
  this->CheckAllK({.size = size, .ranges = {{0, size}}}, v);
}

// Evenly spread samples would meet the large elements alone, or none of them.
TYPED_TEST(TopKTest, PeriodsDoNotMislead) {
  const int64_t size = 1 << 20;
  for (const bool large_first : {false, true}) {
    auto v = RandomNormal(size, 6);
    for (size_t i = 0; i < v.size(); ++i) {
      if ((i % 1024 < 16) == large_first) v[i] += std::copysign(100.0f, v[i]);
    }
    for (const int64_t k : {500, 16'384, 20'000}) {
      this->Check({.size = size, .ranges = {{0, size}}, .k = k}, v);
    }
  }
}

TYPED_TEST(TopKTest, NothingIsChosenOutsideTheRanges) {
  for (const std::vector<Range>& ranges : {std::vector<Range>{{1, 2}},
                                           {{5, 100}, {128, 129}, {500, 20'000}, {20'001, 90'000}},
                                           {{99'999, 100'000}},
                                           {{0, 0}, {3, 3}, {7, 64}}}) {
    auto v = RandomNormal(100'000, 4);
    std::vector<float> masked(v.size(), kNaN);
    for (const Range& range : ranges) {
      std::copy(v.begin() + range.begin, v.begin() + range.end, masked.begin() + range.begin);
    }
    this->CheckAllK({.size = 100'000, .ranges = ranges}, masked);
  }
}

TYPED_TEST(TopKTest, NaNComesFirstThenInfinity) {
  for (const int64_t size : {100, 10'000, 300'000}) {
    auto v = RandomNormal(size, 5);
    const size_t n = v.size();
    v[n / 7] = kNaN;
    v[n / 2] = -kInfinity;
    v[n / 3] = kInfinity;
    v[n - 1] = -kNaN;
    for (const int64_t k : {1, 2, 3, 4, 5, 50}) {
      this->Check({.size = size, .ranges = {{0, size}}, .k = k}, v);
    }
  }
}

TYPED_TEST(TopKTest, ChoosesFromWhatIsComputed) {
  Device& device = *this->device_;
  auto run = [&]<typename T>() {
    const int64_t size = 100'003;
    // Multiples of 1/4, so that every sum is exact.
    auto quarters = [&](uint64_t seed) {
      auto values = RandomNormal(size, seed, 3.0f);
      for (float& value : values) value = std::round(value * 4) / 4;
      return values;
    };
    const auto values = quarters(1), state = quarters(2), parameters = quarters(3);
    const TestBuffer<T> device_values(device, As<T>(values)), device_state(device, As<T>(state), 1),
        device_parameters(device, As<T>(parameters), 2),
        scale(device, std::vector<T>{static_cast<T>(0.5)});
    for (const bool scaled : {false, true}) {
      for (const int64_t decayed_size : {int64_t{0}, int64_t{50'001}, size}) {
        for (const int factor : {-1, 0, 1}) {
          const reference::Input in{.values = {values.begin(), values.end()},
                                    .factor = 0.25,
                                    .gradient_scale = scaled ? 0.5 : 1,
                                    .parameters = {parameters.begin(), parameters.end()},
                                    .weight_decay = 2,
                                    .decayed_size = decayed_size};
          Values v = reference::Evaluate(in);
          for (size_t i = 0; i < v.size(); ++i) v[i] += factor * double{state[i]};
          const CompressionInput input{
              .values = device_values.view(),
              .factor = 0.25,
              .gradient_scale = scaled ? ConstView(scale) : ConstView{},
              .parameters = decayed_size > 0 ? ConstView(device_parameters) : ConstView{},
              .weight_decay = 2,
              .decayed_size = decayed_size};
          const TopKShape shape{.size = size,
                                .ranges = {{0, 60'000}, {60'032, size}},
                                .k = 1601,
                                .type = DataTypeOf<T>()};
          const TestBuffer<int32_t> indices(device, shape.k);
          const TestBuffer<T> chosen(device, shape.k);
          device.MakeTopK(shape)->Select(input, factor == 0 ? ConstView{} : ConstView(device_state),
                                         factor, indices, chosen);
          const auto expected = reference::SelectTopK(shape, v);
          ASSERT_EQ(indices.Read(), expected.indices);
          const auto read = chosen.Read();
          ASSERT_EQ(Values(read.begin(), read.end()), expected.values);
        }
      }
    }
  };
  run.template operator()<float>();
  run.template operator()<double>();
}

TYPED_TEST(TopKTest, HasTheSameBitsOnEveryDevice) {
  const auto cpu = MakeCpuDevice(2);
  const bool fused = HasFusedMultiplyAdd(*cpu);
  const int64_t size = 100'003;
  auto run = [&]<typename T>() {
    const TopKShape shape{
        .size = size, .ranges = {{0, 60'000}, {60'032, size}}, .k = 1601, .type = DataTypeOf<T>()};
    const auto select = [&](Device& device) {
      const TestBuffer<T> input(device, As<T>(RandomNormal(size, 1))),
          state(device, As<T>(RandomNormal(size, 2))),
          parameters(device, As<T>(RandomNormal(size, 3))), scale(device, std::vector<T>{T{0.3f}});
      const TestBuffer<int32_t> indices(device, shape.k);
      const TestBuffer<T> values(device, shape.k);
      device.MakeTopK(shape)->Select({.values = input.view(),
                                      .factor = 0.7,
                                      .gradient_scale = scale,
                                      .parameters = parameters,
                                      .weight_decay = fused ? 0.1 : 0,
                                      .decayed_size = 50'001},
                                     state, -1, indices, values);
      return std::pair(indices.Read(), values.Read());
    };
    EXPECT_EQ(select(*this->device_), select(*cpu));
  };
  run.template operator()<float>();
  run.template operator()<double>();
}

// What one call learns of a vector must not be believed of the next one.
TYPED_TEST(TopKTest, OneOperationServesDifferentVectors) {
  Device& device = *this->device_;
  const int64_t size = 300'000;
  const TopKShape shape{.size = size, .ranges = {{0, size}}, .k = 4800};
  const auto top_k = device.MakeTopK(shape);
  const TestBuffer<int32_t> indices(device, shape.k);
  const TestBuffer<float> values(device, shape.k);
  for (const float scale : {1.0f, 1e-6f, 1e20f, 0.0f, 1.0f, 1.01f, 0.99f}) {
    const auto v = RandomNormal(size, static_cast<uint64_t>(scale * 100), scale);
    top_k->Select({.values = TestBuffer<float>(device, v)}, {}, 0, indices, values);
    EXPECT_EQ(indices.Read(), reference::SelectTopK(shape, {v.begin(), v.end()}).indices) << scale;
  }
}

}  // namespace
}  // namespace thinwire
