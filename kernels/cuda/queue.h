// Where work goes: one in-order stream of one device.
#pragma once

#include <cuda_runtime_api.h>

namespace thinwire::cuda {

struct Queue {
  int device = 0;
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
};

}  // namespace thinwire::cuda
