// Images made smaller before they are packed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datasets/image_decoder.h"

namespace thinwire {

struct ShrinkOptions {
  int64_t max_side = 500;  // pixels of the longer side; 0: no limit
  int quality = 90;        // of the JPEG that a larger image becomes, 1 to 100
  int64_t max_pixels = kDefaultMaxPixels;
};

/// Decodes the whole image, to see that it can be, and where its longer side is over max_side makes
/// a JPEG whose longer side is max_side: resized as torchvision and Pillow do, in the same
/// proportions up to a pixel, with the Exif orientation of the original. What else a file holds
/// besides pixels is lost.
/// @return The JPEG; nothing if the image is small enough and stays as it is.
/// @throws Error as DecodeImage.
std::optional<std::vector<uint8_t>> ShrinkImage(std::span<const uint8_t> bytes,
                                                const std::string& name,
                                                const ShrinkOptions& options);

}  // namespace thinwire
