// Linear layers by cuBLASLt.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

struct cublasLtContext;

namespace thinwire {

namespace cuda {

class PlanTuner;

/// A cuBLASLt handle.
class Cublas {
 public:
  /// @param tuner Chooses among its algorithms; null: the heuristics' first is taken. Outlives
  /// this.
  /// @throws Error if cuBLASLt does not start.
  explicit Cublas(PlanTuner* tuner = nullptr);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  cublasLtContext* handle() const { return handle_; }
  PlanTuner* tuner() const { return tuner_; }

 private:
  cublasLtContext* handle_ = nullptr;
  PlanTuner* const tuner_;
};

}  // namespace cuda

/// @throws Error if the shape is wrong, or cuBLASLt knows no way for it.
std::unique_ptr<Linear> MakeCudaLinear(Device& device, const cuda::Queue& queue,
                                       const cuda::Cublas& cublas, const LinearShape& shape,
                                       const GpuOptions& options);

}  // namespace thinwire
