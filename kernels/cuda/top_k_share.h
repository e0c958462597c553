// One GPU's share of a Top-K.
#pragma once

#include <memory>

#include "kernels/compression.h"
#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire {

std::unique_ptr<TopKShare> MakeCudaTopKShare(Device& device, const cuda::Queue& queue,
                                             const TopKShareShape& shape);

}  // namespace thinwire
