// Top-K on the GPU.
#pragma once

#include <memory>

#include "kernels/compression.h"
#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire {

std::unique_ptr<TopK> MakeCudaTopK(Device& device, const cuda::Queue& queue,
                                   const TopKShape& shape);

}  // namespace thinwire
