// Optimizer updates against the float64 formulas, over ten steps.
#include "tests/reference/updates.h"

#include <algorithm>
#include <cmath>

#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectNear;
using reference::Tolerance;
using Values = std::vector<double>;

constexpr int kSteps = 10;
/// No rule rounds more often than this in a step, hyper-parameters included.
constexpr double kRoundings = 12 * kSteps;
constexpr int64_t kSizes[] = {0, 1, 31, 32, 33, 127, 128, 129, 257, 7919};
constexpr double kRate = 0.03;
constexpr float kGradientScale = 0.7f;

std::vector<UpdateCommon> Commons() {
  return {{.learning_rate = kRate},
          {.learning_rate = kRate, .weight_decay = 0.1},
          {.learning_rate = kRate, .weight_decay = 0.1, .decay_form = WeightDecayForm::kDecoupled}};
}

/// Magnitudes in the tests: gradients and parameters are normal, so below 6; a step is at most
/// `step` learning rates.
auto ParameterTolerance(double step) {
  return [step](size_t) { return Tolerance(kRoundings, 6 + kRate * step); };
}

Values Widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

/// A state vector on the device and in the reference.
struct State {
  TestBuffer<float> device;
  Values reference;
  State(Device& on, int64_t size, bool present = true)
      : device(on, size, 1), reference(present ? static_cast<size_t>(size) : 0), present(present) {}
  View view() const { return present ? device.view() : View{}; }
  bool present;
};

void ExpectState(const State& state, double magnitude) {
  if (!state.present) return;
  ExpectNear(state.device.Read(), state.reference,
             [&](size_t) { return Tolerance(kRoundings, magnitude); });
}

template <typename Backend>
class UpdatesTest : public DeviceTest<Backend> {
 protected:
  /// Calls run(size, common, scale_view, gradient_scale) for all sizes, decays and scalings.
  template <typename Function>
  void ForEachCase(const Function& run) {
    TestBuffer<float> scale(*this->device_, std::vector<float>{kGradientScale});
    for (const int64_t size : kSizes) {
      for (UpdateCommon common : Commons()) {
        for (const bool scaled : {false, true}) {
          SCOPED_TRACE(::testing::Message()
                       << size << " decay " << common.weight_decay << " form "
                       << static_cast<int>(common.decay_form) << " scaled " << scaled);
          common.gradient_scale = scaled ? ConstView(scale) : ConstView{};
          run(size, common, scaled ? double{kGradientScale} : 1.0);
        }
      }
    }
  }
};
TYPED_TEST_SUITE(UpdatesTest, Backends);

TYPED_TEST(UpdatesTest, Momentum) {
  Device& device = *this->device_;
  for (const double momentum : {0.0, 0.9}) {
    for (const bool nesterov : {false, true}) {
      for (const double dampening : {0.0, 0.5}) {
        if (momentum == 0 && (nesterov || dampening != 0)) continue;
        this->ForEachCase([&](int64_t size, const UpdateCommon& common, double scale) {
          const auto start = RandomNormal(size, 1);
          TestBuffer<float> x(device, start, 3);
          Values expected = Widen(start);
          State buffer(device, size, momentum != 0);
          for (int step = 0; step < kSteps; ++step) {
            const auto g = RandomNormal(size, 10 + static_cast<uint64_t>(step));
            const MomentumUpdate update{.common = common,
                                        .momentum = momentum,
                                        .dampening = dampening,
                                        .nesterov = nesterov,
                                        .first_step = step == 0};
            device.Update(update, TestBuffer<float>(device, g, 2), buffer.view(), x);
            reference::Update(update, scale, g, buffer.reference, expected);
          }
          // Gradients of 6, ten of them in the buffer, and Nesterov's look ahead.
          ExpectNear(x.Read(), expected, ParameterTolerance(120));
          ExpectState(buffer, 60);
        });
      }
    }
  }
}

TYPED_TEST(UpdatesTest, Adam) {
  Device& device = *this->device_;
  for (const auto form : {AdamUpdate::Form::kUsual, AdamUpdate::Form::kPaper}) {
    for (const bool inside : {true, false}) {
      for (const bool amsgrad : {false, true}) {
        this->ForEachCase([&](int64_t size, const UpdateCommon& common, double scale) {
          const auto start = RandomNormal(size, 1);
          TestBuffer<float> x(device, start, 3);
          Values expected = Widen(start);
          State m(device, size), v(device, size), v_max(device, size, amsgrad);
          for (int step = 1; step <= kSteps; ++step) {
            const auto g = RandomNormal(size, 10 + static_cast<uint64_t>(step));
            const AdamUpdate update{
                .common = common, .form = form, .epsilon_inside = inside, .step = step};
            device.Update(update, TestBuffer<float>(device, g, 2), m.view(), v.view(), v_max.view(),
                          x);
            reference::Update(update, scale, g, m.reference, v.reference, v_max.reference,
                              expected);
          }
          // |m| <= sum of (1-b1)|g| and sqrt(v) >= sqrt((1-b2) b2^9) |g| for every g so far, so a
          // step is at most 10 * 0.1 / sqrt(0.00099) = 32 rates; its rounding follows the largest
          // |g| in m.
          ExpectNear(x.Read(), expected, ParameterTolerance(32 * kSteps));
          ExpectState(m, 6);
          ExpectState(v, 36 * 0.001 * kSteps);
          ExpectState(v_max, 36 * 0.001 * kSteps);
        });
      }
    }
  }
}

TYPED_TEST(UpdatesTest, AdamLeavesAParameterWithoutGradientAlone) {
  Device& device = *this->device_;
  for (const auto form : {AdamUpdate::Form::kUsual, AdamUpdate::Form::kPaper}) {
    TestBuffer<float> x(device, std::vector<float>(33, 2.0f)), g(device, 33), m(device, 33),
        v(device, 33);
    AdamUpdate update{.common = {.learning_rate = 1}, .form = form, .epsilon = 0};
    device.Update(update, g, m, v, View{}, x);
    EXPECT_EQ(x.Read(), std::vector<float>(33, 2.0f));
  }
}

TYPED_TEST(UpdatesTest, Rmsprop) {
  Device& device = *this->device_;
  for (const double momentum : {0.0, 0.9}) {
    this->ForEachCase([&](int64_t size, const UpdateCommon& common, double scale) {
      const auto start = RandomNormal(size, 1);
      TestBuffer<float> x(device, start, 3);
      Values expected = Widen(start);
      State v(device, size), buffer(device, size, momentum != 0);
      for (int step = 0; step < kSteps; ++step) {
        const auto g = RandomNormal(size, 10 + static_cast<uint64_t>(step));
        const RmspropUpdate update{.common = common, .momentum = momentum};
        device.Update(update, TestBuffer<float>(device, g, 2), v.view(), buffer.view(), x);
        reference::Update(update, scale, g, v.reference, buffer.reference, expected);
      }
      // |g| / sqrt(v) <= 1 / sqrt(1 - alpha) = 10, and ten of them in the buffer. Coupled decay
      // may leave a gradient near zero with an error that follows its terms, below 6, while
      // sqrt(v) follows it too: hence the square.
      ExpectNear(x.Read(), expected, ParameterTolerance(100 * kSteps));
      ExpectState(v, 36);
      ExpectState(buffer, 1000);
    });
  }
}

TYPED_TEST(UpdatesTest, SignSgd) {
  Device& device = *this->device_;
  for (const double momentum : {0.0, 0.9}) {
    this->ForEachCase([&](int64_t size, const UpdateCommon& common, double scale) {
      const auto start = RandomNormal(size, 1);
      TestBuffer<float> x(device, start, 3);
      Values expected = Widen(start);
      State buffer(device, size, momentum != 0);
      for (int step = 0; step < kSteps; ++step) {
        auto g = RandomNormal(size, 10 + static_cast<uint64_t>(step));
        const SignSgdUpdate update{.common = common, .momentum = momentum};
        device.Update(update, TestBuffer<float>(device, g, 2), buffer.view(), x);
        reference::Update(update, scale, g, buffer.reference, expected);
      }
      ExpectNear(x.Read(), expected, ParameterTolerance(kSteps));
      ExpectState(buffer, 6);
    });
  }
}

TYPED_TEST(UpdatesTest, SignOfZeroIsZero) {
  Device& device = *this->device_;
  TestBuffer<float> x(device, {1, 1, 1}), g(device, {0.0f, -0.0f, 1e-40f});
  device.Update(SignSgdUpdate{.common = {.learning_rate = 0.5}}, g, View{}, x);
  EXPECT_EQ(x.Read(), (std::vector<float>{1, 1, 0.5f}));
}

TYPED_TEST(UpdatesTest, FrozenAdam) {
  Device& device = *this->device_;
  auto run = [&]<typename T>() {
    for (const int64_t size : kSizes) {
      for (UpdateCommon common : Commons()) {
        for (const double correction : {1.0, 0.4}) {
          SCOPED_TRACE(::testing::Message() << size << " correction " << correction);
          const Values momentum = Widen(RandomNormal(size, 1));
          Values variance = Widen(RandomNormal(size, 2)), x = Widen(RandomNormal(size, 3));
          for (size_t i = 0; i < variance.size(); ++i) {
            variance[i] = i % 5 == 0 ? 0 : double{static_cast<float>(variance[i] * variance[i])};
          }
          const TestBuffer<T> m(device, {momentum.begin(), momentum.end()}, 1),
              v(device, {variance.begin(), variance.end()}, 2),
              on_device(device, {x.begin(), x.end()}, 3);
          const FrozenAdamUpdate update{
              .common = common, .epsilon = 0.01, .variance_correction = correction};
          device.Update(update, m, v, on_device);
          reference::Update(update, momentum, variance, x);
          // The divisor, its inverse, the root, the product, the sum, ε, the rate, its product, the
          // quotient, `keep`, its product and the difference; steps are at most 6 / 0.01 rates.
          ExpectNear(on_device.Read(), x, [](size_t) { return Tolerance<T>(12, 6 + kRate * 600); });
        }
      }
    }
  };
  run.template operator()<float>();
  run.template operator()<double>();
}

TYPED_TEST(UpdatesTest, FrozenAdamLeavesAParameterWithoutVarianceAlone) {
  Device& device = *this->device_;
  TestBuffer<float> x(device, std::vector<float>(33, 2.0f)),
      m(device, std::vector<float>(33, 1.0f));
  device.Update(FrozenAdamUpdate{.common = {.learning_rate = 1}, .epsilon = 0}, m,
                TestBuffer<float>(device, 33), x);
  EXPECT_EQ(x.Read(), std::vector<float>(33, 2.0f));
}

}  // namespace
}  // namespace thinwire
