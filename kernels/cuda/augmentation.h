// Augmentation on the GPU: batches are uploaded as bytes.
#pragma once

#include <memory>
#include <span>

#include "kernels/augmentation.h"
#include "kernels/cuda/queue.h"

namespace thinwire {

std::unique_ptr<ImageAugmentation> MakeCudaAugmentation(Device& device, const cuda::Queue& queue,
                                                        const AugmentationShape& shape,
                                                        std::span<const float> table);

}  // namespace thinwire
