// Where work goes: one in-order stream of one device, and sometimes a second one.
#pragma once

#include <cuda_runtime_api.h>

namespace thinwire {
class Device;
}

namespace thinwire::cuda {

class SideQueue;
class StepRecorder;

struct Queue {
  int device = 0;
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  StepRecorder* recorder = nullptr;  // of work that is put off; null: none is
  int* halted = nullptr;             // in device memory: not 0 if parameters are to stay
  SideQueue* side = nullptr;         // null: there is one stream only

  /// Where copies, fills, kernels and collectives go now; cuDNN and cuBLASLt know `stream` alone.
  cudaStream_t current_stream() const;
};

/// The queue of a device that MakeCudaDevice made.
/// @throws Error if the device is another's.
Queue QueueOf(Device& device);

}  // namespace thinwire::cuda
