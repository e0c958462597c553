// A compression input as kernels take it.
#pragma once

#include "kernels/compression.h"
#include "kernels/cuda/flat.cuh"

namespace thinwire::cuda {

__device__ inline float MultiplyAdd(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double MultiplyAdd(double a, double b, double c) { return fma(a, b, c); }

/// factor * (gradient_scale * values + weight_decay * parameters) + added_factor * added; absent
/// pointers are null.
template <typename T>
struct Input {
  const T *values, *parameters, *added, *gradient_scale;
  StepArgument<T> factor;
  T weight_decay, added_factor;
  int64_t decayed_size;

  /// What multiplies the values, read once by each thread.
  __device__ T GradientScale() const { return gradient_scale == nullptr ? T{1} : *gradient_scale; }

  /// The elements from `i` on; `load(pointer)` gives kWidth of them.
  template <int kWidth, typename LoadFrom>
  __device__ Vector<T, kWidth> At(int64_t i, T scale, const LoadFrom& load) const {
    Vector<T, kWidth> result = load(values + i);
#pragma unroll
    for (T& value : result.lanes) value = scale * value;
    if (i < decayed_size) {
      const Vector<T, kWidth> parameter = load(parameters + i);
#pragma unroll
      for (int lane = 0; lane < kWidth; ++lane) {
        if (i + lane < decayed_size) {
          result.lanes[lane] = MultiplyAdd(weight_decay, parameter.lanes[lane], result.lanes[lane]);
        }
      }
    }
    const T multiplier = factor.Get();
#pragma unroll
    for (T& value : result.lanes) value = multiplier * value;
    if (added != nullptr) {
      const Vector<T, kWidth> other = load(added + i);
#pragma unroll
      for (int lane = 0; lane < kWidth; ++lane) {
        result.lanes[lane] = MultiplyAdd(added_factor, other.lanes[lane], result.lanes[lane]);
      }
    }
    return result;
  }

  template <int kWidth>
  __device__ Vector<T, kWidth> At(int64_t i, T scale) const {
    return At<kWidth>(i, scale, [](const T* from) { return Load<kWidth>(from); });
  }
};

template <typename T>
Input<T> InputOf(const Queue& queue, const CompressionInput& input) {
  return {.values = input.values.as<T>(),
          .parameters = input.parameters.as<T>(),
          .added = input.added.as<T>(),
          .gradient_scale = input.gradient_scale.as<T>(),
          .factor = MakeFactor<T>(queue, input.factor),
          .weight_decay = static_cast<T>(input.weight_decay),
          .added_factor = static_cast<T>(input.added_factor),
          .decayed_size = input.parameters ? input.decayed_size : 0};
}

}  // namespace thinwire::cuda
