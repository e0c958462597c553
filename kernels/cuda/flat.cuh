// Passes over flat memory, in vectors of 16 bytes where all operands are aligned to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/bfloat16.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/view.h"

namespace thinwire::cuda {

/// kWidth consecutive elements.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Vector {
  T lanes[kWidth];
};

template <int kWidth, typename T>
__device__ inline Vector<T, kWidth> Load(const T* from) {
  return *reinterpret_cast<const Vector<T, kWidth>*>(from);
}
template <int kWidth, typename T>
__device__ inline void Store(T* to, const Vector<T, kWidth>& vector) {
  *reinterpret_cast<Vector<T, kWidth>*>(to) = vector;
}

/// Elements of T in 16 bytes.
template <typename T>
constexpr int kFullWidth = 16 / sizeof(T);

/// What a pass over T computes in.
template <typename T>
using Number = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;

/// kWidth consecutive elements as numbers to compute with, in vectors of 16 bytes at most.
template <int kWidth, typename T>
__device__ inline Vector<Number<T>, kWidth> LoadNumbers(const T* from) {
  constexpr int kPart = kWidth < kFullWidth<T> ? kWidth : kFullWidth<T>;
  Vector<Number<T>, kWidth> numbers;
#pragma unroll
  for (int first = 0; first < kWidth; first += kPart) {
    const auto part = Load<kPart>(from + first);
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      if constexpr (std::is_same_v<T, BFloat16>) {
        numbers.lanes[first + i] = ToFloat(part.lanes[i]);
      } else {
        numbers.lanes[first + i] = part.lanes[i];
      }
    }
  }
  return numbers;
}

/// As ToBFloat16, by the instruction for it.
__device__ inline BFloat16 Rounded(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  BFloat16 rounded;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(value));
  return rounded;
#else
  return ToBFloat16(value);
#endif
}

/// The other way; bfloat16 is rounded.
template <int kWidth, typename T>
__device__ inline void StoreNumbers(T* to, const Vector<Number<T>, kWidth>& numbers) {
  constexpr int kPart = kWidth < kFullWidth<T> ? kWidth : kFullWidth<T>;
#pragma unroll
  for (int first = 0; first < kWidth; first += kPart) {
    Vector<T, kPart> part;
#pragma unroll
    for (int i = 0; i < kPart; ++i) {
      if constexpr (std::is_same_v<T, BFloat16>) {
        part.lanes[i] = Rounded(numbers.lanes[first + i]);
      } else {
        part.lanes[i] = numbers.lanes[first + i];
      }
    }
    Store<kPart>(to + first, part);
  }
}

/// Rounds the new values of x from element `i` on to the copy that an update has been given (null:
/// none).
template <int kWidth, typename T>
__device__ inline void StoreCopy(BFloat16* copy, int64_t i, const Vector<T, kWidth>& values) {
  if constexpr (std::is_same_v<T, float>) {
    if (copy != nullptr) StoreNumbers<kWidth>(copy + i, values);
  }
}

inline bool Aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;  // true for null: absent
}
template <typename... Views>
bool AllAligned(const Views&... views) {
  return (Aligned(views.data) && ...);
}

constexpr int kFlatThreads = 256;

/// Calls body.At<width>(i) for the vectors of [0, count), and element by element behind them.
template <int kWidth, typename Body>
__global__ void __launch_bounds__(kFlatThreads) FlatKernel(int64_t count, Body body) {
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t vectors = count / kWidth;
  for (int64_t i = first; i < vectors; i += threads) body.template At<kWidth>(i * kWidth);
  if constexpr (kWidth > 1) {
    const int64_t rest = vectors * kWidth + first;
    if (rest < count) body.template At<1>(rest);
  }
}

/// Launches `body`, which has `template <int kWidth> __device__ void At(int64_t i) const`, on
/// [0, count). T is the widest type that it loads or stores; `aligned` says that all its operands
/// begin at multiples of 16 bytes.
template <typename T, typename Body>
void ForEach(const char* name, const Queue& queue, int64_t count, bool aligned, const Body& body) {
  constexpr int kWidth = kFullWidth<T>;
  if (aligned) {
    const Grid grid = GridFor(queue, (count + kWidth - 1) / kWidth, kFlatThreads);
    Launch(name, queue, grid, FlatKernel<kWidth, Body>, count, body);
  } else {
    Launch(name, queue, GridFor(queue, count, kFlatThreads), FlatKernel<1, Body>, count, body);
  }
}

/// Calls function.operator()<T>() with float or double, as `type` says.
template <typename Function>
auto WithFloatingType(DataType type, const Function& function) {
  return type == DataType::kFloat64 ? function.template operator()<double>()
                                    : function.template operator()<float>();
}

/// Calls function.operator()<T>() with float or BFloat16, as `type` says.
template <typename Function>
auto WithActivationType(DataType type, const Function& function) {
  return type == DataType::kBFloat16 ? function.template operator()<BFloat16>()
                                     : function.template operator()<float>();
}

}  // namespace thinwire::cuda
