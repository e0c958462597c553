// The one way to look at a status of the CUDA runtime, and what all CUDA libraries' errors look
// like.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace thinwire::cuda {

/// @throws Error, in one line, that names the call, its place, the calling thread's device and, in
///     the library's own words, what is wrong.
[[noreturn]] void Fail(const std::string& call, const char* file, int line,
                       const std::string& words, const std::string& remedy = "");

/// @throws Error that names the call, its place, the device and what CUDA says of it.
void Check(cudaError_t status, const char* call, const char* file, int line);

}  // namespace thinwire::cuda

#define THINWIRE_CUDA_CHECK(call) ::thinwire::cuda::Check((call), #call, __FILE__, __LINE__)
