// The way of what changes from step to step to device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>

#include "kernels/cuda/pinned_memory.h"

namespace thinwire::cuda {

/// Copies arguments to one place of device memory, time after time, in stream order. The host does
/// not wait for the copies: it waits, if at all, for one that is at least kBytes of arguments old.
class StepArgumentUpload {
 public:
  static constexpr size_t kBytes = 64 << 10;  // the most at a time

  StepArgumentUpload();
  ~StepArgumentUpload();
  StepArgumentUpload(const StepArgumentUpload&) = delete;
  StepArgumentUpload& operator=(const StepArgumentUpload&) = delete;

  std::byte* destination() const { return static_cast<std::byte*>(destination_); }
  /// `arguments` may be overwritten on return.
  void Enqueue(std::span<const std::byte> arguments, cudaStream_t stream);

 private:
  PinnedMemory memory_;         // two halves, which are filled in turn
  cudaEvent_t copied_[2] = {};  // all of the half that was filled last
  size_t half_ = 0, used_ = 0;  // where the next arguments go
  void* destination_ = nullptr;
};

}  // namespace thinwire::cuda
