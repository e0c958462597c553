// 3x3 convolutions of stride 1 and 2 by Winograd's algorithms, with a quarter to a half of the
// multiplications.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire::cpu {

/// Whether the three directions of `shape` can be computed so: 3x3, stride 1 or 2, padding up to 2,
/// one group, channel counts that are multiples of the vector's width, and images on which the
/// tiles do save multiplications.
bool WinogradApplies(const ConvolutionShape& shape);

/// Results do not depend on the number of threads. Relative errors are about four times those of
/// the direct sum (isa/winograd.cpp).
/// @pre WinogradApplies(shape)
std::unique_ptr<Convolution> MakeWinogradConvolution(Device& device, const ConvolutionShape& shape);

}  // namespace thinwire::cpu
