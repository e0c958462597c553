// JPEG by libjpeg-turbo.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "datasets/image_decoder.h"

namespace thinwire {

/// As OpenImage, for bytes that begin as a JPEG file does; of any size.
std::unique_ptr<ImageReader> OpenJpeg(std::span<const uint8_t> bytes, const std::string& name);

/// The Exif orientation in the content of an APP1 segment; 1 if there is none that makes sense.
int ParseExifOrientation(std::span<const uint8_t> segment);

}  // namespace thinwire
