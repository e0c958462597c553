// Pooling on the GPU.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/operations.h"

namespace thinwire {

std::unique_ptr<Pooling> MakeCudaPooling(const cuda::Queue& queue, const PoolingShape& shape);
std::unique_ptr<GlobalAveragePooling> MakeCudaGlobalAveragePooling(
    const cuda::Queue& queue, const GlobalAveragePoolingShape& shape);

}  // namespace thinwire
