// Adam's step for one vector of elements, for the passes that take it.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {

/// Updates m, v, v_max (if kMaximum) and x in the lanes of V from `i` on; `g` is the gradient
/// there.
template <bool kMaximum, typename V, typename T = ElementOf<V>>
inline void AdamStep(const AdamArguments<T>& a, T inverse_divisor, V g, T* m, T* v, T* v_max, T* x,
                     int64_t i) {
  const V value = Load<V>(x + i);
  const V gradient = a.gradient_scale * g + a.coupled_decay * value;
  V first = Load<V>(m + i);
  first = first + a.beta1_complement * (gradient - first);
  const V second = a.beta2 * Load<V>(v + i) + (a.beta2_complement * gradient) * gradient;
  Store<V>(m + i, first);
  Store<V>(v + i, second);
  V largest = second;
  if constexpr (kMaximum) {
    const V before = Load<V>(v_max + i);
    largest = before > second ? before : second;
    Store<V>(v_max + i, largest);
  }
  const V deviation = Sqrt(V(largest + a.epsilon_inside)) * inverse_divisor + a.epsilon_outside;
  const V step = a.step_size * first / deviation;
  // 0 / 0 := 0, so that a parameter without any gradient so far stays where it is.
  const V taken = first == V{} ? V{} : step;
  Store<V>(x + i, a.keep * value - taken);
}

}  // namespace thinwire::cpu::THINWIRE_ISA
