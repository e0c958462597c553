// Evaluate, Gather, ScatterAdd and SumParts against float64 loops.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/device_test.h"
#include "tests/reference/compression.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using Values = std::vector<double>;

constexpr int64_t kSizes[] = {0, 1, 31, 32, 33, 127, 7919, 1'000'007};

template <typename T>
std::vector<T> As(const Values& values) {
  return {values.begin(), values.end()};
}

/// Normal values that float32 holds exactly.
Values Normal(int64_t size, uint64_t seed) {
  const auto values = RandomNormal(size, seed);
  return {values.begin(), values.end()};
}

template <typename Backend>
class SumsTest : public DeviceTest<Backend> {
 protected:
  template <typename Run>
  void ForBothTypes(const Run& run) {
    run.template operator()<float>();
    run.template operator()<double>();
  }
};
TYPED_TEST_SUITE(SumsTest, Backends);

TYPED_TEST(SumsTest, Evaluate) {
  Device& device = *this->device_;
  this->ForBothTypes([&]<typename T>() {
    for (const int64_t size : kSizes) {
      reference::Input in{.values = Normal(size, 1),
                          .factor = 0.3,
                          .gradient_scale = 1.7,
                          .parameters = Normal(size, 2),
                          .weight_decay = 0.1,
                          .added = Normal(size, 4),
                          .added_factor = -0.7};
      const Values start = Normal(size, 3);
      const TestBuffer<T> values(device, As<T>(in.values), 1),
          parameters(device, As<T>(in.parameters), 2), added(device, As<T>(in.added), 1),
          scale(device, std::vector<T>{static_cast<T>(1.7)});
      for (const int64_t decayed_size : {int64_t{0}, size / 2, size}) {
        for (const double beta : {0.0, 1.0, -0.9}) {
          in.decayed_size = decayed_size;
          // What is not read must not matter.
          const Values before = beta == 0 ? Values(start.size(), std::nan("")) : start;
          const TestBuffer<T> y(device, As<T>(before), 3);
          device.Evaluate({.values = values,
                           .factor = in.factor,
                           .gradient_scale = scale,
                           .parameters = parameters,
                           .weight_decay = in.weight_decay,
                           .decayed_size = decayed_size,
                           .added = added,
                           .added_factor = in.added_factor},
                          beta, y);
          Values expected = reference::Evaluate(in);
          for (size_t i = 0; i < expected.size(); ++i) expected[i] += beta * start[i];
          // Normal values are below 6; every factor and every operation rounds once.
          reference::ExpectNear(y.Read(), expected,
                                [](size_t) { return reference::Tolerance<T>(10, 16); });
        }
      }
    }
  });
}

TYPED_TEST(SumsTest, EvaluateWithoutFactorsCopies) {
  Device& device = *this->device_;
  this->ForBothTypes([&]<typename T>() {
    const Values values = Normal(1000, 1);
    const TestBuffer<T> input(device, As<T>(values)), y(device, 1000);
    device.Evaluate({.values = input}, 0, y);
    EXPECT_EQ(y.Read(), input.Read());
    device.Evaluate({.values = input, .factor = -1}, 1, input);  // in place
    EXPECT_EQ(input.Read(), std::vector<T>(1000));
  });
}

TYPED_TEST(SumsTest, GatherTakesInputAndStateAtIndices) {
  Device& device = *this->device_;
  this->ForBothTypes([&]<typename T>() {
    for (const int64_t size : kSizes) {
      const TestBuffer<T> values(device, As<T>(Normal(size, 1)), 1),
          parameters(device, As<T>(Normal(size, 2)), 2), states(device, As<T>(Normal(size, 3)), 1),
          added(device, As<T>(Normal(size, 4)), 2),
          scale(device, std::vector<T>{static_cast<T>(1.7)});
      const CompressionInput input = {.values = values,
                                      .factor = 0.3,
                                      .gradient_scale = scale,
                                      .parameters = parameters,
                                      .weight_decay = 0.1,
                                      .decayed_size = size / 2,
                                      .added = added,
                                      .added_factor = -0.7};
      std::vector<int32_t> indices;
      for (int64_t i = 0; i < size; i += 1 + i % 3) indices.push_back(static_cast<int32_t>(i));
      for (const int factor : {-1, 0, 1}) {
        const TestBuffer<T> y(device, static_cast<int64_t>(indices.size()), 3);
        const ConstView state = factor == 0 ? ConstView{} : ConstView(states);
        device.Gather(input, state, factor, TestBuffer<int32_t>(device, indices), y);
        // The very bits that the passes over everything see.
        const TestBuffer<T> dense(device, size);
        device.Evaluate(input, 0, dense);
        if (factor != 0) {
          device.Evaluate({.values = states, .factor = static_cast<double>(factor)}, 1, dense);
        }
        const std::vector<T> all = dense.Read();
        std::vector<T> expected;
        for (const int32_t i : indices) expected.push_back(all[static_cast<size_t>(i)]);
        EXPECT_EQ(y.Read(), expected) << size << " elements, state times " << factor;
      }
    }
  });
}

TYPED_TEST(SumsTest, ScatterAdd) {
  Device& device = *this->device_;
  this->ForBothTypes([&]<typename T>() {
    for (const int64_t size : kSizes) {
      for (const int32_t first_index : {0, 1000}) {
        std::vector<int32_t> indices;
        for (int64_t i = size / 3; i < size; i += 1 + i % 5) {
          indices.push_back(static_cast<int32_t>(i) + first_index);
        }
        const int64_t count = static_cast<int64_t>(indices.size());
        const Values start = Normal(size, 1), values = Normal(count, 2);
        const TestBuffer<T> y(device, As<T>(start), 1);
        device.ScatterAdd(TestBuffer<int32_t>(device, indices, 1),
                          TestBuffer<T>(device, As<T>(values), 2), -0.3, y, first_index);
        Values expected = start;
        for (size_t i = 0; i < indices.size(); ++i) {
          expected[static_cast<size_t>(indices[i] - first_index)] -= 0.3 * values[i];
        }
        reference::ExpectNear(y.Read(), expected,
                              [](size_t) { return reference::Tolerance<T>(3, 12); });
      }
    }
  });
}

TYPED_TEST(SumsTest, LowerBounds) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    std::vector<int32_t> numbers;
    for (int64_t i = 0; i < size; ++i) numbers.push_back(static_cast<int32_t>(3 * i + i % 3));
    const int32_t last = numbers.empty() ? 0 : numbers.back();
    for (const int64_t misalignment : {0, 1}) {
      const std::vector<int32_t> limits = {0,        1,       last / 3, last / 2, last,
                                           last + 1, 1 << 30, -5,       2};
      const TestBuffer<int32_t> places(device, std::ssize(limits), misalignment);
      device.LowerBounds(TestBuffer<int32_t>(device, numbers, misalignment),
                         TestBuffer<int32_t>(device, limits, misalignment), places);
      std::vector<int32_t> expected;
      for (const int32_t limit : limits) {
        expected.push_back(static_cast<int32_t>(std::count_if(
            numbers.begin(), numbers.end(), [&](int32_t number) { return number < limit; })));
      }
      EXPECT_EQ(places.Read(), expected) << size << " numbers";
    }
  }
}

TYPED_TEST(SumsTest, SumPartsRoundsOnce) {
  Device& device = *this->device_;
  this->ForBothTypes([&]<typename T>() {
    for (const int64_t size : kSizes) {
      for (const int64_t count : {1, 2, 3, 20}) {
        const Values parts = Normal(size * count, 1);
        const TestBuffer<T> sum(device, size, 1);
        device.SumParts(TestBuffer<T>(device, As<T>(parts), 3), 1 / static_cast<double>(count),
                        sum);
        Values expected(static_cast<size_t>(size));
        for (size_t i = 0; i < parts.size(); ++i) expected[i % expected.size()] += parts[i];
        for (double& value : expected) value *= 1 / static_cast<double>(count);
        reference::ExpectExact(sum.Read(), expected);
      }
    }
  });
}

TYPED_TEST(SumsTest, SumPartsOfWholeNumbers) {
  Device& device = *this->device_;
  for (const int64_t size : kSizes) {
    std::vector<int32_t> parts(static_cast<size_t>(3 * size));
    std::iota(parts.begin(), parts.end(), -5);
    const TestBuffer<int32_t> sum(device, size, 1);
    device.SumParts(TestBuffer<int32_t>(device, parts, 1), 1, sum);
    std::vector<int32_t> expected(static_cast<size_t>(size));
    for (size_t i = 0; i < parts.size(); ++i) expected[i % expected.size()] += parts[i];
    EXPECT_EQ(sum.Read(), expected);
  }
}

}  // namespace
}  // namespace thinwire
