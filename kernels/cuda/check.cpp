#include "kernels/cuda/check.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace thinwire::cuda {

void Fail(const std::string& call, const char* file, int line, const std::string& words,
          const std::string& remedy) {
  int device = -1;
  cudaGetDevice(&device);  // there is none where a plan is made for another machine
  // Libraries write further lines, as cuDNN the reasons of every engine.
  throw Error(fmt::format("{} failed at {}:{}{}: {}", call, file, line,
                          device < 0 ? "" : fmt::format(" on CUDA device {}", device),
                          words.substr(0, words.find('\n'))),
              remedy);
}

void Check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next check does not find this one again
  Fail(call, file, line,
       fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status)));
}

}  // namespace thinwire::cuda
