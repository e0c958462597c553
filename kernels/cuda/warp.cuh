// A warp's lanes among themselves.
#pragma once

namespace thinwire::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFF;

/// The sum of all lanes' values, the same in each lane: a butterfly, so that the order is fixed.
template <typename T>
__device__ inline T WarpSum(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

}  // namespace thinwire::cuda
