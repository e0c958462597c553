// Optimizer updates: the gradient, the state and the parameters in one pass.
//
// The order of operations is PyTorch's, so that parameters track its within rounding.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

/// The gradient, scaled, with coupled weight decay.
template <typename V, typename Arguments>
inline V Gradient(const Arguments& a, const float* g, V x) {
  return a.gradient_scale * Load<V>(g) + a.coupled_decay * x;
}

}  // namespace

void MomentumUpdate(const MomentumArguments& a, const float* g, float* buffer, float* x,
                    int64_t count) {
  ForEach(count, [&]<typename V>(int64_t i) {
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

template <bool kMaximum>
inline void Adam(const AdamArguments& a, const float* g, float* m, float* v, float* v_max, float* x,
                 int64_t count) {
  const float epsilon_inside = a.epsilon_inside, epsilon_outside = a.epsilon_outside;
  const float inverse_divisor = 1.0f / a.variance_divisor;
  ForEach(count, [&]<typename V>(int64_t i) {
    const V value = Load<V>(x + i);
    const V gradient = Gradient<V>(a, g + i, value);
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
    const V deviation = Sqrt(V(largest + epsilon_inside)) * inverse_divisor + epsilon_outside;
    const V step = a.step_size * first / deviation;
    // 0 / 0 := 0, so that a parameter without any gradient so far stays where it is.
    const V taken = first == V{} ? V{} : step;
    Store<V>(x + i, a.keep * value - taken);
  });
}

}  // namespace

void AdamUpdate(const AdamArguments& a, const float* g, float* m, float* v, float* v_max, float* x,
                int64_t count) {
  if (v_max != nullptr) {
    Adam<true>(a, g, m, v, v_max, x, count);
  } else {
    Adam<false>(a, g, m, v, v_max, x, count);
  }
}

void RmspropUpdate(const RmspropArguments& a, const float* g, float* v, float* buffer, float* x,
                   int64_t count) {
  ForEach(count, [&]<typename V>(int64_t i) {
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

void SignUpdate(const SignArguments& a, const float* g, float* buffer, float* x, int64_t count) {
  const float rate = a.learning_rate;
  ForEach(count, [&]<typename V>(int64_t i) {
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

}  // namespace thinwire::cpu::THINWIRE_ISA
