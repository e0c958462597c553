// Optimizer updates' settings as the kernels of all devices take them: everything that is the same
// for each element worked out beforehand, in float64 and rounded once.
#pragma once

#include "kernels/updates.h"

namespace thinwire {

// `gradient_scale` is 1 here; where an update has one, who launches the kernel puts it in, since it
// is in device memory.

template <typename T>
struct MomentumArguments {
  T gradient_scale, coupled_decay, keep, learning_rate, momentum, damped;
  bool nesterov, first_step;
};

template <typename T>
struct AdamArguments {
  T gradient_scale, coupled_decay, keep, step_size, beta1_complement, beta2, beta2_complement;
  T variance_divisor, epsilon_inside, epsilon_outside;
};

template <typename T>
struct RmspropArguments {
  T gradient_scale, coupled_decay, keep, learning_rate, alpha, alpha_complement, epsilon;
  T momentum;
};

template <typename T>
struct SignArguments {
  T gradient_scale, coupled_decay, keep, learning_rate, momentum, momentum_complement;
};

template <typename T>
struct FrozenAdamArguments {
  T keep, learning_rate, variance_divisor, epsilon;
};

/// T is float or double.
template <typename T>
MomentumArguments<T> ArgumentsOf(const MomentumUpdate& update);
template <typename T>
AdamArguments<T> ArgumentsOf(const AdamUpdate& update);
template <typename T>
RmspropArguments<T> ArgumentsOf(const RmspropUpdate& update);
template <typename T>
SignArguments<T> ArgumentsOf(const SignSgdUpdate& update);
template <typename T>
FrozenAdamArguments<T> ArgumentsOf(const FrozenAdamUpdate& update);

}  // namespace thinwire
