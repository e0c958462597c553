// A second stream of a device, for work that goes on beside the first's: communication.
#pragma once

#include "kernels/cuda/queue.h"

namespace thinwire::cuda {

/// The stream, and whether work goes there now. Both may be captured into one graph.
class SideQueue {
 public:
  SideQueue();
  ~SideQueue();
  SideQueue(const SideQueue&) = delete;
  SideQueue& operator=(const SideQueue&) = delete;

  cudaStream_t stream() const { return stream_; }
  bool in_use() const { return in_use_; }

  /// From here on work goes to this stream, behind what has been enqueued on `main` so far.
  void Fork(cudaStream_t main);
  /// Work goes to the main stream again.
  void Return() { in_use_ = false; }
  /// What is enqueued on `main` next is behind all of this stream's work.
  void Join(cudaStream_t main);

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t forked_ = nullptr, joined_ = nullptr;
  bool in_use_ = false;
};

}  // namespace thinwire::cuda
