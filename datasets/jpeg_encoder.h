// JPEG files made by libjpeg-turbo.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// Encodes as baseline JPEG with 4:2:0 chroma and Huffman tables of its own.
/// @param rgb [height, width, 3], 8 bits.
/// @param quality 1 to 100, as libjpeg counts.
/// @param orientation Exif's, 1 to 8, which an Exif segment says unless it is 1.
/// @param name For messages.
/// @throws Error naming the image if a side is over 65,500 pixels.
std::vector<uint8_t> CompressJpeg(std::span<const uint8_t> rgb, int64_t width, int64_t height,
                                  int quality, int orientation, const std::string& name);

}  // namespace thinwire
