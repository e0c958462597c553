#include "kernels/cuda/step_argument_upload.h"

#include <algorithm>

#include "kernels/cuda/check.h"

namespace thinwire::cuda {

StepArgumentUpload::StepArgumentUpload() : memory_(2 * kBytes) {
  for (cudaEvent_t& event : copied_) {
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  }
  THINWIRE_CUDA_CHECK(cudaMalloc(&destination_, kBytes));
}

StepArgumentUpload::~StepArgumentUpload() {
  cudaFree(destination_);  // waits for the copies
  for (const cudaEvent_t event : copied_) cudaEventDestroy(event);
}

void StepArgumentUpload::Enqueue(std::span<const std::byte> arguments, cudaStream_t stream) {
  if (used_ + arguments.size() > kBytes) {
    THINWIRE_CUDA_CHECK(cudaEventRecord(copied_[half_], stream));
    half_ = 1 - half_;
    used_ = 0;
    THINWIRE_CUDA_CHECK(cudaEventSynchronize(copied_[half_]));
  }
  std::byte* const from = memory_.bytes().data() + half_ * kBytes + used_;
  std::copy(arguments.begin(), arguments.end(), from);
  used_ += arguments.size();
  THINWIRE_CUDA_CHECK(
      cudaMemcpyAsync(destination_, from, arguments.size(), cudaMemcpyHostToDevice, stream));
}

}  // namespace thinwire::cuda
