// Biases of [rows, channels], for what has them apart: convolutions, and gradients of linear
// layers.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire::cuda {

/// y += bias, in every row; both float32 or both bfloat16.
void AddBias(const Queue& queue, int64_t rows, ConstView bias, View y);

/// bias_gradient, float32 = sum of y_gradient's rows, float32 or bfloat16, in one order for all
/// runs.
class BiasGradient {
 public:
  BiasGradient(Device& device, const Queue& queue, int64_t rows, int64_t channels);
  void Run(ConstView y_gradient, View bias_gradient);

 private:
  Device& device_;
  Queue queue_;
  int64_t rows_, channels_;
  Buffer tickets_;
};

}  // namespace thinwire::cuda
