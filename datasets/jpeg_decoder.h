// JPEG by libjpeg-turbo.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "datasets/image_decoder.h"

namespace thinwire {

/// As the functions of image_decoder.h, for bytes that begin as a JPEG file does.
ImageHeader ReadJpegHeader(std::span<const uint8_t> bytes, const std::string& name);
DecodedImage DecodeJpeg(std::span<const uint8_t> bytes, const std::string& name,
                        const DecodeOptions& options);

/// The Exif orientation in the content of an APP1 segment; 1 if there is none that makes sense.
int ParseExifOrientation(std::span<const uint8_t> segment);

}  // namespace thinwire
