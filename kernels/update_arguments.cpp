#include "kernels/update_arguments.h"

#include <cmath>

namespace thinwire {
namespace {

/// What all updates share.
template <typename T, typename Arguments>
void SetCommon(const UpdateCommon& common, Arguments& a) {
  const bool coupled = common.decay_form == WeightDecayForm::kCoupled;
  a.gradient_scale = 1;
  a.coupled_decay = coupled ? static_cast<T>(common.weight_decay) : T{0};
  a.keep = coupled ? T{1} : static_cast<T>(1 - common.learning_rate * common.weight_decay);
}

}  // namespace

template <typename T>
MomentumArguments<T> ArgumentsOf(const MomentumUpdate& update) {
  MomentumArguments<T> a{};
  SetCommon<T>(update.common, a);
  a.learning_rate = static_cast<T>(update.common.learning_rate);
  a.momentum = static_cast<T>(update.momentum);
  a.damped = static_cast<T>(1 - update.dampening);
  a.nesterov = update.nesterov;
  a.first_step = update.first_step;
  return a;
}

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

template <typename T>
RmspropArguments<T> ArgumentsOf(const RmspropUpdate& update) {
  RmspropArguments<T> a{};
  SetCommon<T>(update.common, a);
  a.learning_rate = static_cast<T>(update.common.learning_rate);
  a.alpha = static_cast<T>(update.alpha);
  a.alpha_complement = static_cast<T>(1 - update.alpha);
  a.epsilon = static_cast<T>(update.epsilon);
  a.momentum = static_cast<T>(update.momentum);
  return a;
}

template <typename T>
SignArguments<T> ArgumentsOf(const SignSgdUpdate& update) {
  SignArguments<T> a{};
  SetCommon<T>(update.common, a);
  a.learning_rate = static_cast<T>(update.common.learning_rate);
  a.momentum = static_cast<T>(update.momentum);
  a.momentum_complement = static_cast<T>(1 - update.momentum);
  return a;
}

template <typename T>
FrozenAdamArguments<T> ArgumentsOf(const FrozenAdamUpdate& update) {
  const UpdateCommon& common = update.common;
  const bool decoupled = common.decay_form == WeightDecayForm::kDecoupled;
  FrozenAdamArguments<T> a{};
  a.keep = decoupled ? static_cast<T>(1 - common.learning_rate * common.weight_decay) : T{1};
  a.learning_rate = static_cast<T>(common.learning_rate);
  a.variance_divisor = static_cast<T>(std::sqrt(update.variance_correction));
  a.epsilon = static_cast<T>(update.epsilon);
  return a;
}

#define THINWIRE_INSTANTIATE(T)                                     \
  template MomentumArguments<T> ArgumentsOf(const MomentumUpdate&); \
  template AdamArguments<T> ArgumentsOf(const AdamUpdate&);         \
  template RmspropArguments<T> ArgumentsOf(const RmspropUpdate&);   \
  template SignArguments<T> ArgumentsOf(const SignSgdUpdate&);      \
  template FrozenAdamArguments<T> ArgumentsOf(const FrozenAdamUpdate&);
THINWIRE_INSTANTIATE(float)
THINWIRE_INSTANTIATE(double)
#undef THINWIRE_INSTANTIATE

}  // namespace thinwire
