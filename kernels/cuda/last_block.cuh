// Which block of a kernel finishes last: it sees what all others have written.
#pragma once

namespace thinwire::cuda {

/// For all threads of a block, which call it together once a launch: whether all other blocks have
/// called it before. `finished_blocks` is 0 between launches. What others have written to a place
/// that this block has read before is to be read by volatile or atomic accesses.
__device__ inline bool IsLastBlock(unsigned* finished_blocks) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(finished_blocks, 1u) == gridDim.x - 1;
    if (last) *finished_blocks = 0;
  }
  __syncthreads();
  __threadfence();
  return last;
}

}  // namespace thinwire::cuda
