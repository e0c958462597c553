// Augmentation and normalisation by their definition, value by value.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/augmentation.h"

namespace thinwire::reference {

/// What `table` of ImageAugmentation holds: (byte / 255 - mean) / deviation, rounded once.
std::vector<float> NormalizationTable(std::span<const float> mean,
                                      std::span<const float> deviation);

/// One image.
std::vector<float> Augment(const AugmentationShape& shape, std::span<const float> mean,
                           std::span<const float> deviation, const Augmentation& augmentation,
                           std::span<const uint8_t> image);

}  // namespace thinwire::reference
