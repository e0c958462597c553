// Reductions against the float64 loops.
#include <cmath>
#include <limits>

#include "tests/device_test.h"
#include "tests/reference/elementwise.h"

namespace thinwire {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kSizes[] = {0, 1, 31, 32, 33, 127, 128, 129, 255, 256, 257, 7919, (1 << 20) + 7};

template <typename Backend>
class ReductionsTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(ReductionsTest, Backends);

TYPED_TEST(ReductionsTest, SumOfSquaresIsExactForSmallIntegers) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    for (const int64_t misalignment : {0, 1, 3}) {
      SCOPED_TRACE(::testing::Message() << size << " at " << misalignment);
      std::vector<float> x(static_cast<size_t>(size));
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) - 8;
      TestBuffer<float> x_buffer(device, x, misalignment);
      TestBuffer<double> result(device, 1);
      device.SumOfSquares(x_buffer, result);
      EXPECT_EQ(result.Read()[0], reference::SumOfSquares(x));
    }
  }
}

TYPED_TEST(ReductionsTest, SumOfSquaresIsAFloat64Sum) {
  Device& device = *this->device_;
  const auto x = RandomNormal((1 << 20) + 7, 1, 1e-15f);
  TestBuffer<float> x_buffer(device, x);
  TestBuffer<double> result(device, 1);
  device.SumOfSquares(x_buffer, result);
  const double expected = reference::SumOfSquares(x);
  // All terms are positive, so each of the n additions of either sum errs by at most half an eps
  // of the total.
  const double n = static_cast<double>(x.size());
  EXPECT_NEAR(result.Read()[0], expected, n * std::numeric_limits<double>::epsilon() * expected);
}

TYPED_TEST(ReductionsTest, SumOfSquaresHasTheSameBitsOnEveryDevice) {
  Device& device = *this->device_;
  const auto cpu = MakeCpuDevice(2);
  for (const int64_t size : {127, 4096, 4097, 100'003}) {
    for (const int64_t misalignment : {0, 1}) {
      SCOPED_TRACE(::testing::Message() << size << " at " << misalignment);
      const auto x = RandomNormal(size, 2);
      TestBuffer<float> x_buffer(device, x, misalignment), cpu_x_buffer(*cpu, x);
      TestBuffer<double> result(device, 1), cpu_result(*cpu, 1);
      device.SumOfSquares(x_buffer, result);
      cpu->SumOfSquares(cpu_x_buffer, cpu_result);
      EXPECT_EQ(result.Read()[0], cpu_result.Read()[0]);
    }
  }
}

TYPED_TEST(ReductionsTest, SumOfSquaresShowsNonFiniteValues) {
  Device& device = *this->device_;
  for (const int64_t at : {0, 31, 99}) {
    std::vector<float> x(100, 1.0f);
    x[static_cast<size_t>(at)] = kNaN;
    TestBuffer<float> x_buffer(device, x);
    TestBuffer<double> result(device, 1);
    device.SumOfSquares(x_buffer, result);
    EXPECT_TRUE(std::isnan(result.Read()[0]));
  }
}

TYPED_TEST(ReductionsTest, ClipScale) {
  Device& device = *this->device_;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double sum : {0.0, 1e-20, 0.99, 1.0, 4.0, 1e30, nan}) {
    TestBuffer<double> sum_buffer(device, std::vector<double>{sum});
    TestBuffer<float> scale(device, 1);
    device.ClipScale(sum_buffer, 1.0, scale);
    const float actual = scale.Read()[0],
                expected = static_cast<float>(reference::ClipScale(sum, 1));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(actual));
    } else {
      EXPECT_FLOAT_EQ(actual, expected);
      EXPECT_LE(actual, 1.0f);
    }
  }
}

TYPED_TEST(ReductionsTest, FirstNonFinite) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    std::vector<float> x(static_cast<size_t>(size), std::numeric_limits<float>::max());
    // The sentinels around a test's buffer are finite floats.
    EXPECT_EQ(device.FirstNonFinite(TestBuffer<float>(device, x, 1)), -1);
    for (const int64_t at : {size - 1, size / 2, int64_t{0}}) {
      if (size == 0) break;
      // Each is in front of the ones before.
      x[static_cast<size_t>(at)] = at % 3 == 0 ? kNaN : at % 3 == 1 ? kInfinity : -kInfinity;
      EXPECT_EQ(device.FirstNonFinite(TestBuffer<float>(device, x, at % 4)), at);
    }
  }
}

// Each fault by itself, at every place where vectors of 16 bytes begin, end, or are left over.
TYPED_TEST(ReductionsTest, FindsTheFirstMalformedElement) {
  Device& device = *this->device_;
  const auto run = [&]<typename T>() {
    for (const int64_t size : kSizes) {
      if (size > 10'000) continue;
      SCOPED_TRACE(::testing::Message() << size << " of " << sizeof(T) << " bytes");
      std::vector<int32_t> indices(static_cast<size_t>(size));
      for (size_t j = 0; j < indices.size(); ++j) indices[j] = 1000 + static_cast<int32_t>(3 * j);
      const std::vector<T> values(indices.size(), std::numeric_limits<T>::max());
      const auto find = [&](const std::vector<int32_t>& places, const std::vector<T>& numbers,
                            Range range = {1000, 1 << 22}) {
        const Buffer result = device.Allocate(sizeof(int64_t));
        const auto misalignment = size % 3;
        device.FindMalformed(TestBuffer<int32_t>(device, places, misalignment),
                             TestBuffer<T>(device, numbers, misalignment), range,
                             result.view(DataType::kUint8));
        device.ResumeUpdates();
        int64_t found = 0;
        device.CopyToHost(result.view(DataType::kUint8), &found);
        return found;
      };
      EXPECT_EQ(find(indices, values), -1);
      for (const int64_t at : {size - 1, size / 2, int64_t{4}, int64_t{3}, int64_t{0}}) {
        if (at < 0 || at >= size) continue;
        const auto j = static_cast<size_t>(at);
        auto places = indices;
        for (const int32_t wrong : {-1, 999, 1 << 22, std::numeric_limits<int32_t>::max()}) {
          places[j] = wrong;
          EXPECT_EQ(find(places, values), at) << wrong;
        }
        if (at > 0) {
          places[j] = indices[j - 1];
          EXPECT_EQ(find(places, values), at);
        }
        for (const float wrong : {kNaN, kInfinity, -kInfinity}) {
          auto numbers = values;
          numbers[j] = wrong;
          EXPECT_EQ(find(indices, numbers), at);
        }
        EXPECT_EQ(find(indices, values, {1000, indices[j]}), at);
        EXPECT_EQ(find(indices, values, {1000, indices.back() + 1}), -1);
      }
    }
  };
  run.template operator()<float>();
  run.template operator()<double>();
}

TYPED_TEST(ReductionsTest, FindsTheFirstThatIsNoMagnitude) {
  Device& device = *this->device_;
  const auto run = [&]<typename T>() {
    using Limits = std::numeric_limits<T>;
    for (const int64_t size : kSizes) {
      if (size > 10'000) continue;
      SCOPED_TRACE(::testing::Message() << size << " of " << sizeof(T) << " bytes");
      const auto find = [&](const std::vector<T>& x, int64_t misalignment) {
        const Buffer result = device.Allocate(sizeof(int64_t));
        device.FindNonMagnitude(TestBuffer<T>(device, x, misalignment),
                                result.view(DataType::kUint8));
        device.ResumeUpdates();
        int64_t found = 0;
        device.CopyToHost(result.view(DataType::kUint8), &found);
        return found;
      };
      std::vector<T> x(static_cast<size_t>(size), Limits::max());
      for (size_t i = 0; i < x.size(); i += 3) x[i] = i % 2 == 0 ? T{0} : -T{0};
      EXPECT_EQ(find(x, 1), -1);
      for (const int64_t at : {size - 1, size / 2, int64_t{4}, int64_t{3}, int64_t{0}}) {
        if (at < 0 || at >= size) continue;
        auto wrong = x;
        wrong.back() = -1;  // another behind it
        for (const T value : {-Limits::denorm_min(), T{-1}, -Limits::infinity(), Limits::infinity(),
                              Limits::quiet_NaN()}) {
          wrong[static_cast<size_t>(at)] = value;
          EXPECT_EQ(find(wrong, at % 3), at) << value;
        }
      }
    }
  };
  run.template operator()<float>();
  run.template operator()<double>();
}

}  // namespace
}  // namespace thinwire
