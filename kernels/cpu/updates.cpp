#include "kernels/cpu/updates.h"

#include <cassert>
#include <cmath>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {
namespace {

constexpr int64_t kChunk = 16384;

template <typename T>
T* At(View view, int64_t offset) {
  return view ? view.as<T>() + offset : nullptr;
}

/// The settings that all updates share, as the kernels want them.
template <typename T, typename Arguments>
void SetCommon(const UpdateCommon& common, Arguments& a) {
  const bool coupled = common.decay_form == WeightDecayForm::kCoupled;
  a.gradient_scale = common.gradient_scale ? *common.gradient_scale.as<T>() : T{1};
  a.coupled_decay = coupled ? static_cast<T>(common.weight_decay) : T{0};
  a.keep = coupled ? T{1} : static_cast<T>(1 - common.learning_rate * common.weight_decay);
}

/// Calls function.operator()<T>(begin, count) on the chunks of x.
template <typename Function>
void ForEachChunk(ConstView x, const Function& function) {
  WithFloatingType(x.type, [&]<typename T>() {
    ParallelFor(x.size, kChunk, [&](int64_t begin, int64_t end) {
      function.template operator()<T>(begin, end - begin);
    });
  });
}

}  // namespace

template <typename T>
AdamArguments<T> ArgumentsOf(const AdamUpdate& update) {
  AdamArguments<T> a{};
  SetCommon<T>(update.common, a);
  a.beta1_complement = static_cast<T>(1 - update.beta1);
  a.beta2 = static_cast<T>(update.beta2);
  a.beta2_complement = static_cast<T>(1 - update.beta2);
  const bool usual = update.form == AdamUpdate::Form::kUsual;
  const bool inside = !usual && update.epsilon_inside;
  const double t = static_cast<double>(update.step);
  const double correction1 = usual ? 1 - std::pow(update.beta1, t) : 1;
  const double correction2 = usual ? 1 - std::pow(update.beta2, t) : 1;
  a.step_size = static_cast<T>(update.common.learning_rate / correction1);
  a.variance_divisor = static_cast<T>(std::sqrt(correction2));
  a.epsilon_inside = inside ? static_cast<T>(update.epsilon) : T{0};
  a.epsilon_outside = inside ? T{0} : static_cast<T>(update.epsilon);
  return a;
}
template AdamArguments<float> ArgumentsOf(const AdamUpdate&);
template AdamArguments<double> ArgumentsOf(const AdamUpdate&);

void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x) {
  assert(gradient.size == x.size && (!buffer || buffer.size == x.size));
  ForEachChunk(x, [&]<typename T>(int64_t i, int64_t count) {
    MomentumArguments<T> a{};
    SetCommon<T>(update.common, a);
    a.learning_rate = static_cast<T>(update.common.learning_rate);
    a.momentum = static_cast<T>(update.momentum);
    a.damped = static_cast<T>(1 - update.dampening);
    a.nesterov = update.nesterov;
    a.first_step = update.first_step;
    Isa().flat<T>().momentum_update(a, gradient.as<T>() + i, At<T>(buffer, i), At<T>(x, i), count);
  });
}

void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
            View max_variance, View x) {
  assert(gradient.size == x.size && momentum.size == x.size && variance.size == x.size);
  ForEachChunk(x, [&]<typename T>(int64_t i, int64_t count) {
    Isa().flat<T>().adam_update(ArgumentsOf<T>(update), gradient.as<T>() + i, At<T>(momentum, i),
                                At<T>(variance, i), At<T>(max_variance, i), At<T>(x, i), count);
  });
}

void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer, View x) {
  assert(gradient.size == x.size && variance.size == x.size);
  ForEachChunk(x, [&]<typename T>(int64_t i, int64_t count) {
    RmspropArguments<T> a{};
    SetCommon<T>(update.common, a);
    a.learning_rate = static_cast<T>(update.common.learning_rate);
    a.alpha = static_cast<T>(update.alpha);
    a.alpha_complement = static_cast<T>(1 - update.alpha);
    a.epsilon = static_cast<T>(update.epsilon);
    a.momentum = static_cast<T>(update.momentum);
    Isa().flat<T>().rmsprop_update(a, gradient.as<T>() + i, At<T>(variance, i), At<T>(buffer, i),
                                   At<T>(x, i), count);
  });
}

void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x) {
  assert(gradient.size == x.size && (!buffer || buffer.size == x.size));
  ForEachChunk(x, [&]<typename T>(int64_t i, int64_t count) {
    SignArguments<T> a{};
    SetCommon<T>(update.common, a);
    a.learning_rate = static_cast<T>(update.common.learning_rate);
    a.momentum = static_cast<T>(update.momentum);
    a.momentum_complement = static_cast<T>(1 - update.momentum);
    Isa().flat<T>().sign_update(a, gradient.as<T>() + i, At<T>(buffer, i), At<T>(x, i), count);
  });
}

void Update(const FrozenAdamUpdate& update, ConstView momentum, ConstView variance, View x) {
  assert(momentum.size == x.size && variance.size == x.size);
  const UpdateCommon& common = update.common;
  const bool decoupled = common.decay_form == WeightDecayForm::kDecoupled;
  ForEachChunk(x, [&]<typename T>(int64_t i, int64_t count) {
    FrozenAdamArguments<T> a{};
    a.keep = decoupled ? static_cast<T>(1 - common.learning_rate * common.weight_decay) : T{1};
    a.learning_rate = static_cast<T>(common.learning_rate);
    a.variance_divisor = static_cast<T>(std::sqrt(update.variance_correction));
    a.epsilon = static_cast<T>(update.epsilon);
    Isa().flat<T>().frozen_adam_update(a, momentum.as<T>() + i, variance.as<T>() + i, At<T>(x, i),
                                       count);
  });
}

}  // namespace thinwire::cpu
