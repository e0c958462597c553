#include "kernels/cuda/check.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace thinwire::cuda {

void Check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  int device = -1;
  cudaGetDevice(&device);
  cudaGetLastError();  // so that the next check does not find this one again
  throw Error(fmt::format("{} failed at {}:{} on CUDA device {}: {} ({})", call, file, line, device,
                          cudaGetErrorString(status), cudaGetErrorName(status)),
              "");
}

}  // namespace thinwire::cuda
