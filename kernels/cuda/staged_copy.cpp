#include "kernels/staged_copy.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/pinned_memory.h"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/step_recorder.h"

namespace thinwire {
namespace {

/// Memory of one copy, on both sides.
class Place {
 public:
  Place(Device& device, cudaStream_t stream, int64_t bytes)
      : memory_(static_cast<size_t>(bytes)), staged_(device.Allocate(bytes)) {
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming));
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&read_, cudaEventDisableTiming));
    THINWIRE_CUDA_CHECK(cudaEventRecord(read_, stream));  // behind Allocate's zeros
  }
  ~Place() {
    cudaEventDestroy(read_);
    cudaEventDestroy(copied_);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::span<std::byte> Memory() const {
    THINWIRE_CUDA_CHECK(cudaEventSynchronize(copied_));
    return memory_.bytes();
  }
  void Fill(size_t bytes, cudaStream_t stream) {
    bytes_ = bytes;
    THINWIRE_CUDA_CHECK(cudaStreamWaitEvent(stream, read_, 0));
    THINWIRE_CUDA_CHECK(cudaMemcpyAsync(staged_.data(), memory_.bytes().data(), bytes_,
                                        cudaMemcpyHostToDevice, stream));
    THINWIRE_CUDA_CHECK(cudaEventRecord(copied_, stream));
  }
  void Empty(void* destination, cudaStream_t stream) const {
    THINWIRE_CUDA_CHECK(cudaStreamWaitEvent(stream, copied_, 0));
    THINWIRE_CUDA_CHECK(
        cudaMemcpyAsync(destination, staged_.data(), bytes_, cudaMemcpyDeviceToDevice, stream));
    THINWIRE_CUDA_CHECK(cudaEventRecord(read_, stream));
  }

 private:
  cuda::PinnedMemory memory_;
  Buffer staged_;
  cudaEvent_t copied_ = nullptr, read_ = nullptr;
  size_t bytes_ = 0;  // of the last copy
};

class CudaStagedCopy : public StagedCopy {
 public:
  CudaStagedCopy(Device& device, int64_t bytes, int64_t places)
      : device_(device), queue_(cuda::QueueOf(device)) {
    THINWIRE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    for (int64_t i = 0; i < places; ++i) {
      places_.push_back(std::make_unique<Place>(device, queue_.stream, bytes));
    }
  }

  ~CudaStagedCopy() override {
    cudaStreamSynchronize(stream_);
    places_.clear();
    cudaStreamDestroy(stream_);
  }

  std::span<std::byte> Memory() override {
    std::rotate(places_.begin(), places_.begin() + 1, places_.end());
    return places_.back()->Memory();
  }

  void Start(int64_t bytes) override { places_.back()->Fill(static_cast<size_t>(bytes), stream_); }

  void Finish(View destination) override {
    // Not a part of what is replayed, whose events are the graph's own.
    device_.JoinSideWork();
    queue_.recorder->Flush();
    places_.back()->Empty(destination.data, queue_.stream);
  }

 private:
  Device& device_;
  const cuda::Queue queue_;
  cudaStream_t stream_ = nullptr;
  std::vector<std::unique_ptr<Place>> places_;  // the last one is in use, the first one comes next
};

}  // namespace

std::unique_ptr<StagedCopy> MakeCudaStagedCopy(Device& device, int64_t bytes, int64_t places) {
  return std::make_unique<CudaStagedCopy>(device, bytes, places);
}

}  // namespace thinwire
