// Augmentation on the CPU: of a batch as an operation, and image by image for the threads that
// prepare batches.
#pragma once

#include <memory>
#include <span>

#include "kernels/augmentation.h"

namespace thinwire {

namespace cpu {

/// One image, on the calling thread. `table` as in kernels/augmentation.h.
void Augment(const AugmentationShape& shape, const float* table, const Augmentation& augmentation,
             const uint8_t* image, float* output);

}  // namespace cpu

std::unique_ptr<ImageAugmentation> MakeCpuAugmentation(const AugmentationShape& shape,
                                                       std::span<const float> table);

}  // namespace thinwire
