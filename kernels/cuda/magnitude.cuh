// Magnitudes as integers, and the ordered choice of what reaches one of them.
#pragma once

#include <cstdint>
#include <cub/block/block_scan.cuh>
#include <type_traits>

namespace thinwire::cuda {

/// Magnitudes as integers have the order of their numbers; all NaNs are one more than infinity.
template <typename T>
using KeyOfType = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
template <typename T>
constexpr int kKeyBits = 8 * sizeof(T) - 1;

__device__ inline uint32_t KeyOf(float value) {
  const uint32_t key = __float_as_uint(value) & 0x7FFFFFFFu;
  return key > 0x7F800000u ? 0x7F800001u : key;
}
__device__ inline uint64_t KeyOf(double value) {
  const uint64_t key = static_cast<uint64_t>(__double_as_longlong(value)) & 0x7FFFFFFFFFFFFFFFu;
  return key > 0x7FF0000000000000u ? 0x7FF0000000000001u : key;
}

/// Writes those of a block's elements, in order, that lie above `cut`, and ties with it while there
/// are any left.
template <typename T, int kThreads>
struct ChosenWriter {
  using Scan = cub::BlockScan<int, kThreads>;

  typename Scan::TempStorage& storage;  // in shared memory
  KeyOfType<T> cut;
  int64_t ties_left;
  int64_t to;  // where the next is written
  int32_t* indices;
  T* values;

  /// The next elements, one a thread; those that are not `valid` are none. All threads call it.
  __device__ void Add(bool valid, int32_t index, T value) {
    const KeyOfType<T> key = KeyOf(value);
    int before = 0, sum = 0;
    const bool tie = valid && key == cut;
    Scan(storage).ExclusiveSum(static_cast<int>(tie), before, sum);
    __syncthreads();
    const bool chosen = valid && (key > cut || (tie && before < ties_left));
    ties_left -= sum;
    Scan(storage).ExclusiveSum(static_cast<int>(chosen), before, sum);
    __syncthreads();
    if (chosen) {
      indices[to + before] = index;
      values[to + before] = value;
    }
    to += sum;
  }
};

}  // namespace thinwire::cuda
