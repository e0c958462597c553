#include "kernels/cpu/updates.h"

#include <cassert>
#include <cmath>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {
namespace {

constexpr int64_t kChunk = 16384;

float* At(View view, int64_t offset) { return view ? view.as<float>() + offset : nullptr; }

/// The settings that all updates share, as the kernels want them.
template <typename Arguments>
Arguments Common(const UpdateCommon& common) {
  const bool coupled = common.decay_form == WeightDecayForm::kCoupled;
  Arguments a{};
  a.gradient_scale = common.gradient_scale ? *common.gradient_scale.as<float>() : 1.0f;
  a.coupled_decay = coupled ? static_cast<float>(common.weight_decay) : 0.0f;
  a.keep = coupled ? 1.0f : static_cast<float>(1 - common.learning_rate * common.weight_decay);
  return a;
}

template <typename Function>
void ForEachChunk(int64_t size, const Function& function) {
  ParallelFor(size, kChunk, [&](int64_t begin, int64_t end) { function(begin, end - begin); });
}

}  // namespace

void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x) {
  assert(gradient.size == x.size && (!buffer || buffer.size == x.size));
  auto a = Common<MomentumArguments>(update.common);
  a.learning_rate = static_cast<float>(update.common.learning_rate);
  a.momentum = static_cast<float>(update.momentum);
  a.damped = static_cast<float>(1 - update.dampening);
  a.nesterov = update.nesterov;
  a.first_step = update.first_step;
  ForEachChunk(x.size, [&](int64_t i, int64_t count) {
    Isa().momentum_update(a, gradient.as<float>() + i, At(buffer, i), At(x, i), count);
  });
}

void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
            View max_variance, View x) {
  assert(gradient.size == x.size && momentum.size == x.size && variance.size == x.size);
  auto a = Common<AdamArguments>(update.common);
  a.beta1_complement = static_cast<float>(1 - update.beta1);
  a.beta2 = static_cast<float>(update.beta2);
  a.beta2_complement = static_cast<float>(1 - update.beta2);
  const bool usual = update.form == AdamUpdate::Form::kUsual;
  const bool inside = !usual && update.epsilon_inside;
  const double t = static_cast<double>(update.step);
  const double correction1 = usual ? 1 - std::pow(update.beta1, t) : 1;
  const double correction2 = usual ? 1 - std::pow(update.beta2, t) : 1;
  a.step_size = static_cast<float>(update.common.learning_rate / correction1);
  a.variance_divisor = static_cast<float>(std::sqrt(correction2));
  a.epsilon_inside = inside ? static_cast<float>(update.epsilon) : 0.0f;
  a.epsilon_outside = inside ? 0.0f : static_cast<float>(update.epsilon);
  ForEachChunk(x.size, [&](int64_t i, int64_t count) {
    Isa().adam_update(a, gradient.as<float>() + i, At(momentum, i), At(variance, i),
                      At(max_variance, i), At(x, i), count);
  });
}

void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer, View x) {
  assert(gradient.size == x.size && variance.size == x.size);
  auto a = Common<RmspropArguments>(update.common);
  a.learning_rate = static_cast<float>(update.common.learning_rate);
  a.alpha = static_cast<float>(update.alpha);
  a.alpha_complement = static_cast<float>(1 - update.alpha);
  a.epsilon = static_cast<float>(update.epsilon);
  a.momentum = static_cast<float>(update.momentum);
  ForEachChunk(x.size, [&](int64_t i, int64_t count) {
    Isa().rmsprop_update(a, gradient.as<float>() + i, At(variance, i), At(buffer, i), At(x, i),
                         count);
  });
}

void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x) {
  assert(gradient.size == x.size && (!buffer || buffer.size == x.size));
  auto a = Common<SignArguments>(update.common);
  a.learning_rate = static_cast<float>(update.common.learning_rate);
  a.momentum = static_cast<float>(update.momentum);
  a.momentum_complement = static_cast<float>(1 - update.momentum);
  ForEachChunk(x.size, [&](int64_t i, int64_t count) {
    Isa().sign_update(a, gradient.as<float>() + i, At(buffer, i), At(x, i), count);
  });
}

}  // namespace thinwire::cpu
