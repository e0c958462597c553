// Softmax cross-entropy on the GPU.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire {

std::unique_ptr<Loss> MakeCudaLoss(Device& device, const cuda::Queue& queue,
                                   const LossShape& shape);

}  // namespace thinwire
