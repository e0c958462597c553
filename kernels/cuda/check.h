// The one way to look at a status of the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

namespace thinwire::cuda {

/// @throws Error that names the call, its place, the device and what CUDA says of it.
void Check(cudaError_t status, const char* call, const char* file, int line);

}  // namespace thinwire::cuda

#define THINWIRE_CUDA_CHECK(call) ::thinwire::cuda::Check((call), #call, __FILE__, __LINE__)
