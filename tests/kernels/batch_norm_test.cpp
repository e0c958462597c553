// Batch normalisation against the float64 loops.
#include "tests/reference/batch_norm.h"

#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectExact;
using reference::ExpectNear;
using reference::Stored;
using reference::Tolerance;

/// Roundings in a float32 sum: differences and products before it, and what is added one after
/// the other before float64 takes over; CUDA's trees are shallower. Worst case, not likely case.
constexpr double kSumRoundings = 36;

std::vector<double> Widen(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

/// Operands of one batch normalisation on the host. Channels have different means and scales.
struct Operands {
  std::vector<float> x, residual, scale, shift, running_mean, running_variance;
  std::vector<float> y_gradient, y_gradient2, addend;

  explicit Operands(const BatchNormShape& shape, float offset = 2) {
    const int64_t size = shape.rows * shape.channels;
    x = RandomNormal(size, 1);
    residual = RandomNormal(shape.residual ? size : 0, 2);
    scale = RandomNormal(shape.channels, 3);
    shift = RandomNormal(shape.channels, 4);
    running_mean = RandomNormal(shape.channels, 5);
    running_variance = std::vector<float>(static_cast<size_t>(shape.channels), 1.5f);
    y_gradient = RandomNormal(size, 6);
    y_gradient2 = RandomNormal(size, 7);
    addend = RandomNormal(size, 8);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = i % static_cast<size_t>(shape.channels);
      x[i] = offset * static_cast<float>(c % 5) + x[i] * (1 + static_cast<float>(c % 3));
    }
    for (auto* values : {&x, &residual, &y_gradient, &y_gradient2, &addend}) {
      *values = RoundTo(shape.type, std::move(*values));
    }
  }
};

/// The device's answers.
struct Forward {
  std::vector<float> y, mean, inverse_deviation, running_mean, running_variance;
};

Forward RunForward(Device& device, const BatchNormShape& shape, const Operands& o,
                   int64_t misalignment) {
  ActivationBuffer x(device, shape.type, o.x, misalignment),
      residual(device, shape.type, o.residual),
      y(device, shape.type, shape.rows * shape.channels, misalignment);
  TestBuffer<float> scale(device, o.scale, 1), shift(device, o.shift, 2),
      mean(device, o.running_mean, 3), variance(device, o.running_variance, 1),
      saved_mean(device, shape.channels, 1), saved_inverse(device, shape.channels, 2);
  const auto batch_norm = device.MakeBatchNorm(shape);
  batch_norm->ForwardTraining(x, shape.residual ? residual.view() : View{}, scale, shift, mean,
                              variance, saved_mean, saved_inverse, y);
  return {y.Read(), saved_mean.Read(), saved_inverse.Read(), mean.Read(), variance.Read()};
}

/// Largest |x - mean| by channel, which scales the rounding errors of sums of differences.
std::vector<double> Spread(const BatchNormShape& shape, const std::vector<float>& x,
                           const std::vector<double>& mean) {
  std::vector<double> spread(static_cast<size_t>(shape.channels));
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % spread.size();
    spread[c] = std::max(spread[c], std::abs(x[i] - mean[c]));
  }
  return spread;
}

void CheckForward(const BatchNormShape& shape, const Operands& o, const Forward& actual) {
  const auto expected = reference::BatchNormMoments(shape, o.x, o.running_mean, o.running_variance);
  const auto spread = Spread(shape, o.x, expected.mean);
  auto mean_tolerance = [&](size_t c) {
    return Tolerance(1, std::abs(expected.mean[c])) + Tolerance(kSumRoundings, spread[c]);
  };
  ExpectNear(actual.mean, expected.mean, mean_tolerance);
  ExpectNear(actual.running_mean, expected.running_mean, [&](size_t c) {
    return Tolerance(2, std::abs(o.running_mean[c])) + mean_tolerance(c);
  });
  // Squares may be taken relative to any value within the channel's spread.
  auto variance_tolerance = [&](size_t c) {
    return Tolerance(2 * kSumRoundings, expected.variance[c] + spread[c] * spread[c] / 4);
  };
  ExpectNear(actual.running_variance, expected.running_variance, [&](size_t c) {
    return Tolerance(2, std::abs(o.running_variance[c])) + 2 * variance_tolerance(c);
  });
  ExpectNear(actual.inverse_deviation, expected.inverse_deviation, [&](size_t c) {
    const double inverse = expected.inverse_deviation[c];
    return Tolerance(2, inverse) + variance_tolerance(c) * inverse * inverse * inverse;
  });
  // Behind the statistics as they were saved, only a few roundings are left.
  const auto y = reference::BatchNormForward(shape, o.x, o.residual, o.scale, o.shift,
                                             Widen(actual.mean), Widen(actual.inverse_deviation));
  ExpectNear(actual.y, y, [&](size_t i) {
    const size_t c = i % o.scale.size();
    const double factor = std::abs(o.scale[c]) * actual.inverse_deviation[c];
    const double residual = shape.residual ? std::abs(o.residual[i]) : 0;
    const double tolerance =
        Tolerance(4, factor * std::abs(o.x[i] - actual.mean[c]) + std::abs(o.shift[c]) + residual);
    return Stored(shape.type, tolerance, y[i]);
  });
}

enum class Alias { kNone, kFirst, kSecond, kAddend };

struct BackwardCase {
  bool second = false, residual_gradient = false, addend = false;
  Alias x_gradient = Alias::kNone, residual = Alias::kNone;
};

void CheckBackward(Device& device, const BatchNormShape& shape, const Operands& o,
                   const Forward& forward, const BackwardCase& which, int64_t misalignment) {
  SCOPED_TRACE(::testing::Message()
               << "second " << which.second << " residual " << which.residual_gradient << " addend "
               << which.addend << " x alias " << static_cast<int>(which.x_gradient)
               << " residual alias " << static_cast<int>(which.residual));
  const int64_t size = shape.rows * shape.channels;
  const DataType type = shape.type;
  ActivationBuffer x(device, type, o.x, misalignment), y(device, type, forward.y, 1),
      first(device, type, o.y_gradient, misalignment), second(device, type, o.y_gradient2, 2),
      addend(device, type, o.addend, 3), own_x_gradient(device, type, size, misalignment),
      own_residual_gradient(device, type, size, 1);
  TestBuffer<float> scale(device, o.scale), shift(device, o.shift), mean(device, forward.mean),
      inverse(device, forward.inverse_deviation), scale_gradient(device, shape.channels, 1),
      shift_gradient(device, shape.channels, 2);
  auto pick = [&](Alias alias, const ActivationBuffer& own) -> const ActivationBuffer& {
    return alias == Alias::kFirst    ? first
           : alias == Alias::kSecond ? second
           : alias == Alias::kAddend ? addend
                                     : own;
  };
  const auto& x_gradient = pick(which.x_gradient, own_x_gradient);
  const auto& residual_gradient = pick(which.residual, own_residual_gradient);
  const bool y_is_read = shape.relu && shape.residual;
  device.MakeBatchNorm(shape)->Backward(
      x, y_is_read ? y.view() : View{}, first, which.second ? second.view() : View{}, scale, shift,
      mean, inverse, which.addend ? addend.view() : View{}, x_gradient,
      which.residual_gradient ? residual_gradient.view() : View{}, scale_gradient, shift_gradient);

  const auto expected = reference::BatchNormBackward(
      shape, o.x, forward.y, o.y_gradient, which.second ? o.y_gradient2 : std::vector<float>{},
      o.scale, Widen(forward.mean), Widen(forward.inverse_deviation),
      which.addend ? o.addend : std::vector<float>{});
  if (which.residual_gradient) {
    const auto actual = residual_gradient.Read();
    if (type == DataType::kFloat32) {
      ExpectExact(actual, expected.residual);
    } else {  // a sum in float32, rounded once more
      ExpectNear(actual, expected.residual, [&](size_t i) {
        return Stored(type, Tolerance(1, std::abs(expected.residual[i])), expected.residual[i]);
      });
    }
  }
  // Sums of |g| and |g (x - mean)| / deviation scale the rounding of the sums.
  const size_t channels = static_cast<size_t>(shape.channels);
  std::vector<double> sum_g(channels), sum_gx(channels);
  auto normalised = [&](size_t i) {
    const size_t c = i % channels;
    return std::abs(o.x[i] - forward.mean[c]) * forward.inverse_deviation[c];
  };
  for (size_t i = 0; i < o.x.size(); ++i) {
    sum_g[i % channels] += std::abs(expected.residual[i]);
    sum_gx[i % channels] += std::abs(expected.residual[i]) * normalised(i);
  }
  ExpectNear(shift_gradient.Read(), expected.shift,
             [&](size_t c) { return Tolerance(kSumRoundings, sum_g[c]); });
  ExpectNear(scale_gradient.Read(), expected.scale,
             [&](size_t c) { return Tolerance(kSumRoundings, sum_gx[c]); });
  const double n = static_cast<double>(shape.rows);
  ExpectNear(x_gradient.Read(), expected.x, [&](size_t i) {
    const size_t c = i % channels;
    const double factor = std::abs(o.scale[c]) * forward.inverse_deviation[c];
    const double magnitude =
        std::abs(expected.residual[i]) + sum_g[c] / n + normalised(i) * sum_gx[c] / n;
    const double tolerance = Tolerance(kSumRoundings + 6, factor * magnitude) +
                             Tolerance(1, which.addend ? std::abs(o.addend[i]) : 0);
    // The residual's gradient may be taken as it was stored.
    const double residual =
        which.residual_gradient ? factor * Stored(type, 0, expected.residual[i]) : 0;
    return Stored(type, tolerance + residual, expected.x[i]);
  });
}

template <typename Backend>
class BatchNormTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(BatchNormTest, Backends);

TYPED_TEST(BatchNormTest, AgreesWithTheReference) {
  const std::pair<int64_t, int64_t> shapes[] = {
      {1, 16}, {2, 1},     {3, 300},  {31, 3},    {32, 33},   {33, 32},   {127, 17}, {257, 64},
      {64, 5}, {1009, 16}, {4099, 3}, {130, 300}, {70, 2049}, {65, 2048}, {7919, 5}, {137, 255},
  };
  int index = 0;
  for (const auto& [rows, channels] : shapes) {
    for (const bool residual : {false, true}) {
      for (const bool relu : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << rows << " x " << channels << " residual " << residual << " relu " << relu);
        const BatchNormShape shape{
            .rows = rows, .channels = channels, .residual = residual, .relu = relu};
        const Operands operands(shape);
        const int64_t misalignment = index % 3;
        const auto forward = RunForward(*this->device_, shape, operands, misalignment);
        CheckForward(shape, operands, forward);
        // Each shape meets some of the operand combinations; the next test takes them all.
        const BackwardCase which{.second = index % 2 == 0,
                                 .residual_gradient = index / 2 % 2 == 0,
                                 .addend = index / 3 % 2 == 0};
        CheckBackward(*this->device_, shape, operands, forward, which, misalignment);
        ++index;
      }
    }
  }
}

TYPED_TEST(BatchNormTest, AgreesInBFloat16) {
  const std::pair<int64_t, int64_t> shapes[] = {{1, 16},   {2, 1},     {33, 32},   {257, 64},
                                                {64, 5},   {1009, 16}, {130, 300}, {65, 2048},
                                                {7919, 4}, {137, 255}};
  int index = 0;
  for (const auto& [rows, channels] : shapes) {
    for (const int flags : {0, 1, 2, 3}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << channels << " flags " << flags);
      const BatchNormShape shape{.rows = rows,
                                 .channels = channels,
                                 .residual = (flags & 1) != 0,
                                 .relu = (flags & 2) != 0,
                                 .type = DataType::kBFloat16};
      const Operands operands(shape);
      const int64_t misalignment = index % 3;
      const auto forward = RunForward(*this->device_, shape, operands, misalignment);
      CheckForward(shape, operands, forward);
      const BackwardCase which{.second = index % 2 == 0,
                               .residual_gradient = index / 2 % 2 == 0,
                               .addend = index / 3 % 2 == 0};
      CheckBackward(*this->device_, shape, operands, forward, which, misalignment);
      ++index;
    }
  }
}

/// Of 45 rows.
void CheckAllOperandsAndAliases(Device& device, int64_t channels, DataType type) {
  for (const int flags : {0, 1, 2, 3}) {
    const BatchNormShape shape{.rows = 45,
                               .channels = channels,
                               .residual = (flags & 1) != 0,
                               .relu = (flags & 2) != 0,
                               .type = type};
    SCOPED_TRACE(::testing::Message() << channels << " flags " << flags);
    const Operands operands(shape);
    const auto forward = RunForward(device, shape, operands, 0);
    for (const bool second : {false, true}) {
      for (const bool addend : {false, true}) {
        for (const Alias x : {Alias::kNone, Alias::kFirst, Alias::kSecond, Alias::kAddend}) {
          for (const Alias residual : {Alias::kNone, Alias::kFirst, Alias::kSecond}) {
            for (const bool residual_gradient : {false, true}) {
              const bool same = residual_gradient && x == residual && x != Alias::kNone;
              if (same || (!residual_gradient && residual != Alias::kNone)) continue;
              CheckBackward(device, shape, operands, forward,
                            {second, residual_gradient, addend, x, residual}, 0);
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(BatchNormTest, BackwardTakesAllOperandsAndAliases) {
  for (const int64_t channels : {19, 64}) {
    CheckAllOperandsAndAliases(*this->device_, channels, DataType::kFloat32);
  }
  CheckAllOperandsAndAliases(*this->device_, 24, DataType::kBFloat16);
}

TYPED_TEST(BatchNormTest, AFarMeanDoesNotDrownTheVariance) {
  const BatchNormShape shape{.rows = 5003, .channels = 7};
  const Operands operands(shape, 1e4f);
  CheckForward(shape, operands, RunForward(*this->device_, shape, operands, 0));
}

TYPED_TEST(BatchNormTest, AConstantChannelGivesTheShift) {
  Device& device = *this->device_;
  const BatchNormShape shape{.rows = 321, .channels = 3};
  Operands operands(shape);
  operands.x.assign(operands.x.size(), 1234.5f);
  const auto forward = RunForward(device, shape, operands, 0);
  for (size_t i = 0; i < forward.y.size(); ++i) ASSERT_EQ(forward.y[i], operands.shift[i % 3]);
}

TYPED_TEST(BatchNormTest, NaNStaysInItsChannel) {
  const BatchNormShape shape{.rows = 50, .channels = 4, .relu = true};
  Operands operands(shape);
  operands.x[4 * 17 + 2] = std::numeric_limits<float>::quiet_NaN();
  const auto forward = RunForward(*this->device_, shape, operands, 0);
  for (size_t i = 0; i < forward.y.size(); ++i) ASSERT_EQ(std::isnan(forward.y[i]), i % 4 == 2);
}

TYPED_TEST(BatchNormTest, InferenceUsesTheRunningStatistics) {
  Device& device = *this->device_;
  for (const int64_t rows : {0, 1, 33, 1009}) {
    for (const int64_t channels : {3, 64}) {
      for (const bool residual : {false, true}) {
        SCOPED_TRACE(::testing::Message() << rows << " x " << channels);
        const BatchNormShape shape{
            .rows = rows, .channels = channels, .residual = residual, .relu = !residual};
        const Operands o(shape);
        TestBuffer<float> x(device, o.x, 1), residual_buffer(device, o.residual),
            scale(device, o.scale), shift(device, o.shift), mean(device, o.running_mean),
            variance(device, o.running_variance), y(device, rows * channels, 2);
        device.MakeBatchNorm(shape)->ForwardInference(x, residual ? residual_buffer.view() : View{},
                                                      scale, shift, mean, variance, y);
        std::vector<double> inverse;
        for (const float v : o.running_variance) inverse.push_back(1 / std::sqrt(v + 1e-5));
        const auto expected = reference::BatchNormForward(shape, o.x, o.residual, o.scale, o.shift,
                                                          Widen(o.running_mean), inverse);
        ExpectNear(y.Read(), expected, [&](size_t i) {
          const size_t c = i % o.scale.size();
          const double factor = std::abs(o.scale[c]) * inverse[c];
          const double added = residual ? std::abs(o.residual[i]) : 0;
          return Tolerance(
              6, factor * std::abs(o.x[i] - o.running_mean[c]) + std::abs(o.shift[c]) + added);
        });
        EXPECT_EQ(mean.Read(), o.running_mean);
        EXPECT_EQ(variance.Read(), o.running_variance);
      }
    }
  }
}

TYPED_TEST(BatchNormTest, RefusesNoChannels) {
  EXPECT_THROW(this->device_->MakeBatchNorm({.rows = 4, .channels = 0}), Error);
  EXPECT_THROW(this->device_->MakeBatchNorm({.rows = -1, .channels = 4}), Error);
}

}  // namespace
}  // namespace thinwire
