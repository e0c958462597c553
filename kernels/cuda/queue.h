// Where work goes: one in-order stream of one device.
#pragma once

#include <cuda_runtime_api.h>

namespace thinwire {
class Device;
}

namespace thinwire::cuda {

class StepRecorder;

struct Queue {
  int device = 0;
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  StepRecorder* recorder = nullptr;  // of work that is put off; null: none is
  int* halted = nullptr;             // in device memory: not 0 if parameters are to stay
};

/// The queue of a device that MakeCudaDevice made.
/// @throws Error if the device is another's.
Queue QueueOf(Device& device);

}  // namespace thinwire::cuda
