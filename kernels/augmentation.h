// Augmentation and normalisation of images in one pass, from bytes [height, width, channels] to
// float32, or bfloat16, of the same layout.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/view.h"

namespace thinwire {

/// What is done to one image: in this order cropped, flipped, normalised and cut out. Device memory
/// holds it as it is.
struct Augmentation {
  /// Output row y, before the flip, is input row y + shift_y; rows outside of the image are black
  /// (bytes of 0). The same for columns.
  int32_t shift_y = 0, shift_x = 0;
  int32_t flip = 0;  // 0 or 1
  /// The square's centre in the output (DeVries and Taylor, 2017): rows cutout_y - side / 2 up to,
  /// but not including, that plus side, as far as they lie in the image.
  int32_t cutout_y = 0, cutout_x = 0;
};

struct AugmentationShape {
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  int64_t cutout = 0;  // side of the square that is zeroed after normalisation; 0: none

  int64_t image_size() const { return height * width * channels; }
};

/// What every byte becomes: float32 [channels, 256].
inline constexpr int64_t kByteValues = 256;

class ImageAugmentation {
 public:
  virtual ~ImageAugmentation() = default;

  /// output, float32 or bfloat16 [batch, height, width, channels]: the augmented images, and zeros
  /// behind them.
  /// @param images uint8 [rows, height, width, channels], rows <= batch.
  /// @param augmentations bytes of Augmentation[rows], aligned as it is.
  virtual void Run(ConstView images, ConstView augmentations, View output) = 0;
};

/// @throws Error if the shape makes no sense, or `table` is not of channels * 256 values.
void CheckShape(const AugmentationShape& shape, std::span<const float> table);

}  // namespace thinwire
