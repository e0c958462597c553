// Mixes of a batch's images on the CPU.
#pragma once

#include "kernels/image_mix.h"
#include "kernels/view.h"

namespace thinwire::cpu {

/// As Device::MixImages.
void MixImages(const ImageMix& mix, const ImageMixShape& shape, View images);

}  // namespace thinwire::cpu
