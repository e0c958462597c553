// Batch normalisation on the GPU.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire {

std::unique_ptr<BatchNorm> MakeCudaBatchNorm(Device& device, const cuda::Queue& queue,
                                             const BatchNormShape& shape);

}  // namespace thinwire
