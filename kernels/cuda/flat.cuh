// Passes over flat memory, in vectors of 16 bytes where all operands are aligned to them.
#pragma once

#include <cstddef>
#include <cstdint>

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

}  // namespace thinwire::cuda
