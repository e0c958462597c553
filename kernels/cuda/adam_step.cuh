// Adam's step for one element, for the passes that take it.
#pragma once

#include "kernels/update_arguments.h"

namespace thinwire::cuda {

__device__ inline float SquareRoot(float x) { return sqrtf(x); }
__device__ inline double SquareRoot(double x) { return sqrt(x); }

/// m, v and v̂ (if kMaximum), and x of the element whose gradient is `g`.
template <bool kMaximum, typename T>
__device__ inline void AdamStep(const AdamArguments<T>& a, T inverse_divisor, T g, T& m, T& v,
                                T& v_max, T& x) {
  const T gradient = a.gradient_scale * g + a.coupled_decay * x;
  m = m + a.beta1_complement * (gradient - m);
  v = a.beta2 * v + (a.beta2_complement * gradient) * gradient;
  T largest = v;
  if constexpr (kMaximum) v_max = largest = v_max > v ? v_max : v;
  const T deviation = SquareRoot(largest + a.epsilon_inside) * inverse_divisor + a.epsilon_outside;
  // 0 / 0 := 0, so that a parameter without any gradient so far stays where it is.
  const T taken = m == 0 ? T{0} : a.step_size * m / deviation;
  x = a.keep * x - taken;
}

}  // namespace thinwire::cuda
