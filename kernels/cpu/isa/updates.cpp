// Optimizer updates: the gradient, the state and the parameters in one pass.
//
// The order of operations is PyTorch's, so that parameters track its within rounding.
#include "kernels/cpu/isa/adam.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

/// The gradient, scaled, with coupled weight decay.
template <typename V, typename Arguments>
inline V Gradient(const Arguments& a, const ElementOf<V>* g, V x) {
  return a.gradient_scale * Load<V>(g) + a.coupled_decay * x;
}

}  // namespace

template <typename T>
void MomentumUpdate(const MomentumArguments<T>& a, const T* g, T* buffer, T* x,
                    int64_t count) {
  ForEach<T>(count, [&]<typename V>(int64_t i) {
    const V value = Load<V>(x + i);
    const V gradient = Gradient<V>(a, g + i, value);
    V step = gradient;
    if (buffer != nullptr) {
      V moving = gradient;
      if (!a.first_step) moving = a.momentum * Load<V>(buffer + i) + a.damped * gradient;
      Store<V>(buffer + i, moving);
      step = a.nesterov ? V(gradient + a.momentum * moving) : moving;
    }
    Store<V>(x + i, a.keep * value - a.learning_rate * step);
  });
}

namespace {

template <bool kMaximum, typename T>
inline void Adam(AdamArguments<T> a, const T* g, T* m, T* v, T* v_max, T* x,
                 int64_t count) {
  const T inverse_divisor = 1 / a.variance_divisor;
  ForEach<T>(count, [&]<typename V>(int64_t i) {
    AdamStep<kMaximum>(a, inverse_divisor, Load<V>(g + i), m, v, v_max, x, i);
  });
}

}  // namespace

template <typename T>
void AdamUpdate(const AdamArguments<T>& a, const T* g, T* m, T* v, T* v_max, T* x,
                int64_t count) {
  if (v_max != nullptr) {
    Adam<true>(a, g, m, v, v_max, x, count);
  } else {
    Adam<false>(a, g, m, v, v_max, x, count);
  }
}

template <typename T>
void RmspropUpdate(const RmspropArguments<T>& a, const T* g, T* v, T* buffer, T* x,
                   int64_t count) {
  ForEach<T>(count, [&]<typename V>(int64_t i) {
    const V value = Load<V>(x + i);
    const V gradient = Gradient<V>(a, g + i, value);
    const V second = a.alpha * Load<V>(v + i) + (a.alpha_complement * gradient) * gradient;
    Store<V>(v + i, second);
    V step = gradient / (Sqrt(second) + a.epsilon);
    if (buffer != nullptr) {
      step = a.momentum * Load<V>(buffer + i) + step;
      Store<V>(buffer + i, step);
    }
    Store<V>(x + i, a.keep * value - a.learning_rate * step);
  });
}

template <typename T>
void SignUpdate(const SignArguments<T>& a, const T* g, T* buffer, T* x, int64_t count) {
  const T rate = a.learning_rate;
  ForEach<T>(count, [&]<typename V>(int64_t i) {
    const V value = Load<V>(x + i);
    V direction = Gradient<V>(a, g + i, value);
    if (buffer != nullptr) {
      direction = a.momentum * Load<V>(buffer + i) + a.momentum_complement * direction;
      Store<V>(buffer + i, direction);
    }
    const V up = direction < V{} ? V{} + rate : V{};
    const V step = direction > V{} ? V{} - rate : up;
    Store<V>(x + i, a.keep * value + step);
  });
}

template <typename T>
void FrozenAdamUpdate(const FrozenAdamArguments<T>& a, const T* m, const T* v, T* x,
                      int64_t count) {
  const T inverse_divisor = 1 / a.variance_divisor;
  ForEach<T>(count, [&]<typename V>(int64_t i) {
    const V variance = Load<V>(v + i);
    const V deviation = Sqrt(variance) * inverse_divisor + a.epsilon;
    const V step = a.learning_rate * Load<V>(m + i) / deviation;
    const V taken = variance == V{} ? V{} : step;
    Store<V>(x + i, a.keep * Load<V>(x + i) - taken);
  });
}

#define THINWIRE_INSTANTIATE(T)                                                                 \
  template void MomentumUpdate(const MomentumArguments<T>&, const T*, T*, T*, int64_t);          \
  template void AdamUpdate(const AdamArguments<T>&, const T*, T*, T*, T*, T*, int64_t);          \
  template void RmspropUpdate(const RmspropArguments<T>&, const T*, T*, T*, T*, int64_t);        \
  template void SignUpdate(const SignArguments<T>&, const T*, T*, T*, int64_t);                  \
  template void FrozenAdamUpdate(const FrozenAdamArguments<T>&, const T*, const T*, T*, int64_t);
THINWIRE_INSTANTIATE(float)
THINWIRE_INSTANTIATE(double)
#undef THINWIRE_INSTANTIATE

}  // namespace thinwire::cpu::THINWIRE_ISA
