// How the images of training batches are mixed.
#pragma once

#include <cstdint>

#include "kernels/image_mix.h"

namespace thinwire {

/// The parameter of the Beta distribution that each takes its share from; 0: not at all. Of both,
/// each batch gets one, with equal chances.
struct MixOptions {
  double mixup = 0, cutmix = 0;

  bool any() const { return mixup > 0 || cutmix > 0; }
};

/// Which batch of a run.
struct MixedBatch {
  uint64_t seed = 0;
  int64_t epoch = 0, index = 0, rank = 0;
};

/// A pure function of its arguments. The box of cutmix is torchvision's: its centre is anywhere, it
/// is cut at the image's edges, and the label's share is of what is left.
ImageMix DrawMix(const MixOptions& options, const MixedBatch& batch, int64_t height, int64_t width);

}  // namespace thinwire
