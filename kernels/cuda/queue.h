// Where work goes: one in-order stream of one device.
#pragma once

#include <cuda_runtime_api.h>

namespace thinwire {
class Device;
}

namespace thinwire::cuda {

struct Queue {
  int device = 0;
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
};

/// The queue of a device that MakeCudaDevice made.
/// @throws Error if the device is another's.
Queue QueueOf(Device& device);

}  // namespace thinwire::cuda
