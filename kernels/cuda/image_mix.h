// Mixes of a batch's images on the GPU.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/image_mix.h"
#include "kernels/view.h"

namespace thinwire::cuda {

/// As Device::MixImages.
void MixImages(const Queue& queue, const ImageMix& mix, const ImageMixShape& shape, View images);

}  // namespace thinwire::cuda
