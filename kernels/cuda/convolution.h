// Convolutions by cuDNN, biases by kernels of ours.
#pragma once

#include <memory>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/device.h"

namespace thinwire {

/// @throws Error if the shape is wrong, or cuDNN has no engine for it.
std::unique_ptr<Convolution> MakeCudaConvolution(Device& device, const cuda::Queue& queue,
                                                 const cuda::Cudnn& cudnn,
                                                 const ConvolutionShape& shape,
                                                 const GpuOptions& options);

}  // namespace thinwire
