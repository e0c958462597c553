// Optimizer updates: the gradient, the state and the parameters in one pass. The order of
// operations is the CPU's, so that parameters are the same bits on both.
#include "kernels/cuda/adam_step.cuh"
#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/updates.h"

namespace thinwire::cuda {
namespace {

/// The settings with what scales the gradient, which is in device memory (null: nothing does).
template <typename Arguments, typename T>
__device__ inline Arguments Scaled(Arguments a, const T* gradient_scale) {
  if (gradient_scale != nullptr) a.gradient_scale = *gradient_scale;
  return a;
}

/// The gradient, scaled, with coupled weight decay.
template <typename Arguments, typename T>
__device__ inline T Gradient(const Arguments& a, T g, T x) {
  return a.gradient_scale * g + a.coupled_decay * x;
}

template <typename T>
struct MomentumBody {
  StepArgument<MomentumArguments<T>> arguments;
  const int* halted;
  const T *gradient_scale, *g;
  T *buffer, *x;
  BFloat16* copy;  // of x, or null

  template <int kWidth>
  __device__ void At(int64_t i) const {
    if (*halted != 0) return;
    const auto a = Scaled(arguments.Get(), gradient_scale);
    const auto gradients = Load<kWidth>(g + i);
    auto values = Load<kWidth>(x + i);
    Vector<T, kWidth> moving{};
    if (buffer != nullptr && !a.first_step) moving = Load<kWidth>(buffer + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      T& value = values.lanes[lane];
      const T gradient = Gradient(a, gradients.lanes[lane], value);
      T step = gradient;
      if (buffer != nullptr) {
        T& moved = moving.lanes[lane];
        moved = a.first_step ? gradient : a.momentum * moved + a.damped * gradient;
        step = a.nesterov ? gradient + a.momentum * moved : moved;
      }
      value = a.keep * value - a.learning_rate * step;
    }
    if (buffer != nullptr) Store<kWidth>(buffer + i, moving);
    Store<kWidth>(x + i, values);
    StoreCopy(copy, i, values);
  }
};

template <bool kMaximum, typename T>
struct AdamBody {
  StepArgument<AdamArguments<T>> arguments;
  const int* halted;
  const T *gradient_scale, *g;
  T *m, *v, *v_max, *x;
  BFloat16* copy;  // of x, or null

  template <int kWidth>
  __device__ void At(int64_t i) const {
    if (*halted != 0) return;
    const auto a = Scaled(arguments.Get(), gradient_scale);
    const T inverse_divisor = 1 / a.variance_divisor;
    const auto gradients = Load<kWidth>(g + i);
    auto first = Load<kWidth>(m + i), second = Load<kWidth>(v + i), values = Load<kWidth>(x + i);
    Vector<T, kWidth> largest{};
    if constexpr (kMaximum) largest = Load<kWidth>(v_max + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      AdamStep<kMaximum>(a, inverse_divisor, gradients.lanes[lane], first.lanes[lane],
                         second.lanes[lane], largest.lanes[lane], values.lanes[lane]);
    }
    Store<kWidth>(m + i, first);
    Store<kWidth>(v + i, second);
    if constexpr (kMaximum) Store<kWidth>(v_max + i, largest);
    Store<kWidth>(x + i, values);
    StoreCopy(copy, i, values);
  }
};

template <typename T>
struct RmspropBody {
  StepArgument<RmspropArguments<T>> arguments;
  const int* halted;
  const T *gradient_scale, *g;
  T *v, *buffer, *x;
  BFloat16* copy;  // of x, or null

  template <int kWidth>
  __device__ void At(int64_t i) const {
    if (*halted != 0) return;
    const auto a = Scaled(arguments.Get(), gradient_scale);
    const auto gradients = Load<kWidth>(g + i);
    auto second = Load<kWidth>(v + i), values = Load<kWidth>(x + i);
    Vector<T, kWidth> moving{};
    if (buffer != nullptr) moving = Load<kWidth>(buffer + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      T &value = values.lanes[lane], &variance = second.lanes[lane];
      const T gradient = Gradient(a, gradients.lanes[lane], value);
      variance = a.alpha * variance + (a.alpha_complement * gradient) * gradient;
      T step = gradient / (SquareRoot(variance) + a.epsilon);
      if (buffer != nullptr) step = moving.lanes[lane] = a.momentum * moving.lanes[lane] + step;
      value = a.keep * value - a.learning_rate * step;
    }
    Store<kWidth>(v + i, second);
    if (buffer != nullptr) Store<kWidth>(buffer + i, moving);
    Store<kWidth>(x + i, values);
    StoreCopy(copy, i, values);
  }
};

template <typename T>
struct SignBody {
  StepArgument<SignArguments<T>> arguments;
  const int* halted;
  const T *gradient_scale, *g;
  T *buffer, *x;
  BFloat16* copy;  // of x, or null

  template <int kWidth>
  __device__ void At(int64_t i) const {
    if (*halted != 0) return;
    const auto a = Scaled(arguments.Get(), gradient_scale);
    const auto gradients = Load<kWidth>(g + i);
    auto values = Load<kWidth>(x + i);
    Vector<T, kWidth> moving{};
    if (buffer != nullptr) moving = Load<kWidth>(buffer + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      T& value = values.lanes[lane];
      T direction = Gradient(a, gradients.lanes[lane], value);
      if (buffer != nullptr) {
        direction = moving.lanes[lane] =
            a.momentum * moving.lanes[lane] + a.momentum_complement * direction;
      }
      const T up = direction < 0 ? a.learning_rate : T{0};
      value = a.keep * value + (direction > 0 ? -a.learning_rate : up);
    }
    if (buffer != nullptr) Store<kWidth>(buffer + i, moving);
    Store<kWidth>(x + i, values);
    StoreCopy(copy, i, values);
  }
};

template <typename T>
struct FrozenAdamBody {
  StepArgument<FrozenAdamArguments<T>> arguments;
  const int* halted;
  const T *m, *v;
  T* x;
  BFloat16* copy;  // of x, or null

  template <int kWidth>
  __device__ void At(int64_t i) const {
    if (*halted != 0) return;
    const FrozenAdamArguments<T> a = arguments.Get();
    const T inverse_divisor = 1 / a.variance_divisor;
    const auto first = Load<kWidth>(m + i), second = Load<kWidth>(v + i);
    auto values = Load<kWidth>(x + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      const T variance = second.lanes[lane];
      const T deviation = SquareRoot(variance) * inverse_divisor + a.epsilon;
      const T step = a.learning_rate * first.lanes[lane] / deviation;
      values.lanes[lane] = a.keep * values.lanes[lane] - (variance == 0 ? T{0} : step);
    }
    Store<kWidth>(x + i, values);
    StoreCopy(copy, i, values);
  }
};

}  // namespace

void Update(const Queue& queue, const MomentumUpdate& update, ConstView gradient, View buffer,
            View x) {
  const View copy = update.common.bfloat16_x;
  WithFloatingType(x.type, [&]<typename T>() {
    ForEach<T>("momentum_update", queue, x.size, AllAligned(gradient, buffer, x, copy),
               MomentumBody<T>{MakeStepArgument(queue, ArgumentsOf<T>(update)), queue.halted,
                               update.common.gradient_scale.as<T>(), gradient.as<T>(),
                               buffer.as<T>(), x.as<T>(), copy.as<BFloat16>()});
  });
}

void Update(const Queue& queue, const AdamUpdate& update, ConstView gradient, View momentum,
            View variance, View max_variance, View x) {
  const View copy = update.common.bfloat16_x;
  WithFloatingType(x.type, [&]<typename T>() {
    const auto run = [&]<bool kMaximum>() {
      ForEach<T>("adam_update", queue, x.size,
                 AllAligned(gradient, momentum, variance, max_variance, x, copy),
                 AdamBody<kMaximum, T>{MakeStepArgument(queue, ArgumentsOf<T>(update)),
                                       queue.halted, update.common.gradient_scale.as<T>(),
                                       gradient.as<T>(), momentum.as<T>(), variance.as<T>(),
                                       max_variance.as<T>(), x.as<T>(), copy.as<BFloat16>()});
    };
    if (max_variance) {
      run.template operator()<true>();
    } else {
      run.template operator()<false>();
    }
  });
}

void Update(const Queue& queue, const RmspropUpdate& update, ConstView gradient, View variance,
            View buffer, View x) {
  const View copy = update.common.bfloat16_x;
  WithFloatingType(x.type, [&]<typename T>() {
    ForEach<T>("rmsprop_update", queue, x.size, AllAligned(gradient, variance, buffer, x, copy),
               RmspropBody<T>{MakeStepArgument(queue, ArgumentsOf<T>(update)), queue.halted,
                              update.common.gradient_scale.as<T>(), gradient.as<T>(),
                              variance.as<T>(), buffer.as<T>(), x.as<T>(), copy.as<BFloat16>()});
  });
}

void Update(const Queue& queue, const SignSgdUpdate& update, ConstView gradient, View buffer,
            View x) {
  const View copy = update.common.bfloat16_x;
  WithFloatingType(x.type, [&]<typename T>() {
    ForEach<T>("sign_update", queue, x.size, AllAligned(gradient, buffer, x, copy),
               SignBody<T>{MakeStepArgument(queue, ArgumentsOf<T>(update)), queue.halted,
                           update.common.gradient_scale.as<T>(), gradient.as<T>(), buffer.as<T>(),
                           x.as<T>(), copy.as<BFloat16>()});
  });
}

void Update(const Queue& queue, const FrozenAdamUpdate& update, ConstView momentum,
            ConstView variance, View x) {
  const View copy = update.common.bfloat16_x;
  WithFloatingType(x.type, [&]<typename T>() {
    ForEach<T>(
        "frozen_adam_update", queue, x.size, AllAligned(momentum, variance, x, copy),
        FrozenAdamBody<T>{MakeStepArgument(queue, ArgumentsOf<T>(update)), queue.halted,
                          momentum.as<T>(), variance.as<T>(), x.as<T>(), copy.as<BFloat16>()});
  });
}

}  // namespace thinwire::cuda
