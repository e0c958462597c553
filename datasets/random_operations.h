// Random changes of colour and place: RandAugment and colour jitter.
#pragma once

#include <cstdint>
#include <vector>

#include "datasets/augment.h"
#include "datasets/image_operations.h"

namespace thinwire {

struct DrawnOperation {
  ImageOperation operation = ImageOperation::kIdentity;
  double magnitude = 0;
  bool operator==(const DrawnOperation&) const = default;
};

/// What is done to image `index` in `epoch`, in this order: a pure function of these and the seed.
/// First RandAugment's (Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a
/// Reduced Search Space", 2020), from torchvision's list and with its magnitudes; then colour
/// jitter's brightness, contrast and saturation in random order, by factors uniform in
/// [1 - color_jitter, 1 + color_jitter].
/// @param size Side of the square.
std::vector<DrawnOperation> DrawOperations(const AugmentationOptions& options, int64_t size,
                                           uint64_t seed, int64_t epoch, int64_t index);

}  // namespace thinwire
