// Linear layers by cuBLASLt.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

struct cublasLtContext;

namespace thinwire {

namespace cuda {

/// A cuBLASLt handle.
class Cublas {
 public:
  /// @throws Error if cuBLASLt does not start.
  Cublas();
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  cublasLtContext* handle() const { return handle_; }

 private:
  cublasLtContext* handle_ = nullptr;
};

}  // namespace cuda

/// @throws Error if the shape is wrong, or cuBLASLt knows no way for it.
std::unique_ptr<Linear> MakeCudaLinear(Device& device, const cuda::Queue& queue,
                                       const cuda::Cublas& cublas, const LinearShape& shape,
                                       const GpuOptions& options);

}  // namespace thinwire
