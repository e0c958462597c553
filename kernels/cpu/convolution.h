// Convolution on the CPU: chooses the algorithm of each direction by shape.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire {

/// Plans a convolution. The choice is a fixed rule of the shape and the instruction set, never a
/// timing, so that two runs of a program choose alike.
/// @throws Error (usage) for a shape that is no convolution.
std::unique_ptr<Convolution> MakeCpuConvolution(Device& device, const ConvolutionShape& shape);

}  // namespace thinwire
