// Changes of colour and place of a square of pixels, as Pillow's ImageEnhance, ImageOps and affine
// transforms do them: of 8-bit RGB, [size, size, 3], in place.
#pragma once

#include <cstdint>
#include <vector>

namespace thinwire {

/// In the order of torchvision's RandAugment.
enum class ImageOperation : uint8_t {
  kIdentity,
  kShearX,        // columns move by magnitude * row
  kShearY,        // rows by magnitude * column
  kTranslateX,    // by magnitude columns to the right
  kTranslateY,    // by magnitude rows down
  kRotate,        // by magnitude degrees, counterclockwise about the middle
  kBrightness,    // that much towards black, from there on: 0 is black, 1 nothing
  kSaturation,    // from grey
  kContrast,      // from the mean of grey
  kSharpness,     // from a smoothed image
  kPosterize,     // keeps magnitude bits
  kSolarize,      // inverts values of magnitude and more
  kAutoContrast,  // stretches each channel to 0 … 255
  kEqualize,      // makes each channel's histogram even
};

/// What moves in is black, and pixels are taken from the nearest.
/// @param scratch Grows as needed; for reuse.
void ApplyOperation(ImageOperation operation, double magnitude, int64_t size, uint8_t* pixels,
                    std::vector<uint8_t>& scratch);

}  // namespace thinwire
