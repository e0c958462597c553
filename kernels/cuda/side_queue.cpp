#include "kernels/cuda/side_queue.h"

#include "kernels/cuda/check.h"

namespace thinwire::cuda {

SideQueue::SideQueue() {
  // Messages are what others wait for, and little work: they go first.
  int lowest = 0, highest = 0;
  THINWIRE_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  THINWIRE_CUDA_CHECK(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest));
  THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&forked_, cudaEventDisableTiming));
  THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&joined_, cudaEventDisableTiming));
}

SideQueue::~SideQueue() {
  cudaEventDestroy(forked_);
  cudaEventDestroy(joined_);
  cudaStreamDestroy(stream_);
}

void SideQueue::Fork(cudaStream_t main) {
  THINWIRE_CUDA_CHECK(cudaEventRecord(forked_, main));
  THINWIRE_CUDA_CHECK(cudaStreamWaitEvent(stream_, forked_, 0));
  in_use_ = true;
}

void SideQueue::Join(cudaStream_t main) {
  THINWIRE_CUDA_CHECK(cudaEventRecord(joined_, stream_));
  THINWIRE_CUDA_CHECK(cudaStreamWaitEvent(main, joined_, 0));
}

cudaStream_t Queue::current_stream() const {
  return side != nullptr && side->in_use() ? side->stream() : stream;
}

}  // namespace thinwire::cuda
