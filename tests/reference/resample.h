// Antialiased resizing in float64, straight from its definition: each output is the mean of the
// inputs under a triangle that is as wide as two outputs (two inputs where the image grows).
#pragma once

#include <cstdint>
#include <vector>

namespace thinwire::reference {

/// Resizes columns [left, right) of rows [top, bottom) of an image to width x height; inputs
/// outside of these are not seen. Nothing is rounded.
/// @param image [.., image_width, 3].
std::vector<double> Resample(const std::vector<uint8_t>& image, int64_t image_width, int64_t left,
                             int64_t top, int64_t right, int64_t bottom, int64_t width,
                             int64_t height);

}  // namespace thinwire::reference
