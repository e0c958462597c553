#include "kernels/cuda/pinned_memory.h"

#include "kernels/cuda/check.h"

namespace thinwire::cuda {

PinnedMemory::PinnedMemory(size_t bytes) {
  void* pinned = nullptr;
  const cudaError_t status = cudaHostAlloc(&pinned, bytes, cudaHostAllocDefault);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    pageable_.resize(bytes);
    bytes_ = pageable_;
  } else {
    THINWIRE_CUDA_CHECK(status);
    bytes_ = {static_cast<std::byte*>(pinned), bytes};
  }
}

PinnedMemory::~PinnedMemory() {
  if (pageable_.empty()) cudaFreeHost(bytes_.data());
}

}  // namespace thinwire::cuda
