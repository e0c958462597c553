// Pairs of a batch's images that become mixtures of each other: mixup (Zhang et al., 2018) and
// cutmix (Yun et al., 2019), with row rows - 1 - i as the partner of row i.
#pragma once

#include <cstdint>

namespace thinwire {

/// What a batch's pairs become. Outside of the box [top, bottom) x [left, right), images stay as
/// they are.
struct ImageMix {
  /// In the box, an image becomes own_pixels * itself + (1 - own_pixels) * its partner: mixup takes
  /// a box of all of the image, cutmix a share of 0.
  float own_pixels = 1;
  int32_t top = 0, bottom = 0, left = 0, right = 0;
  /// Of the row's own label in the loss; the rest is of its partner's.
  float own_label = 1;
};

struct ImageMixShape {
  int64_t height = 0, width = 0, channels = 0;

  int64_t image_size() const { return height * width * channels; }
};

}  // namespace thinwire
