#include "kernels/staged_copy.h"

#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/step_recorder.h"

namespace thinwire {
namespace {

class CudaStagedCopy : public StagedCopy {
 public:
  CudaStagedCopy(Device& device, int64_t bytes)
      : device_(device), queue_(cuda::QueueOf(device)), staged_(device.Allocate(bytes)) {
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming));
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&read_, cudaEventDisableTiming));
    THINWIRE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    void* pinned = nullptr;
    const auto size = static_cast<size_t>(bytes);
    const cudaError_t status = cudaHostAlloc(&pinned, size, cudaHostAllocDefault);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      pageable_.resize(size);
      memory_ = pageable_;
    } else {
      THINWIRE_CUDA_CHECK(status);
      memory_ = {static_cast<std::byte*>(pinned), size};
    }
    THINWIRE_CUDA_CHECK(cudaEventRecord(read_, queue_.stream));  // behind Allocate's zeros
  }

  ~CudaStagedCopy() override {
    cudaStreamSynchronize(stream_);
    if (pageable_.empty()) cudaFreeHost(memory_.data());
    cudaStreamDestroy(stream_);
    cudaEventDestroy(read_);
    cudaEventDestroy(copied_);
  }

  std::span<std::byte> Memory() override {
    THINWIRE_CUDA_CHECK(cudaEventSynchronize(copied_));
    return memory_;
  }

  void Start(int64_t bytes) override {
    bytes_ = static_cast<size_t>(bytes);
    THINWIRE_CUDA_CHECK(cudaStreamWaitEvent(stream_, read_, 0));
    THINWIRE_CUDA_CHECK(
        cudaMemcpyAsync(staged_.data(), memory_.data(), bytes_, cudaMemcpyHostToDevice, stream_));
    THINWIRE_CUDA_CHECK(cudaEventRecord(copied_, stream_));
  }

  void Finish(View destination) override {
    // Not a part of what is replayed, whose events are the graph's own.
    device_.JoinSideWork();
    queue_.recorder->Flush();
    THINWIRE_CUDA_CHECK(cudaStreamWaitEvent(queue_.stream, copied_, 0));
    THINWIRE_CUDA_CHECK(cudaMemcpyAsync(destination.data, staged_.data(), bytes_,
                                        cudaMemcpyDeviceToDevice, queue_.stream));
    THINWIRE_CUDA_CHECK(cudaEventRecord(read_, queue_.stream));
  }

 private:
  Device& device_;
  const cuda::Queue queue_;
  Buffer staged_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t copied_ = nullptr, read_ = nullptr;
  std::vector<std::byte> pageable_;
  std::span<std::byte> memory_;
  size_t bytes_ = 0;  // of the copy that was started last
};

}  // namespace

std::unique_ptr<StagedCopy> MakeCudaStagedCopy(Device& device, int64_t bytes) {
  return std::make_unique<CudaStagedCopy>(device, bytes);
}

}  // namespace thinwire
