// Convolution and linear through oneDNN, in our layouts. The only user of oneDNN.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire::cpu {

/// Any stride, padding, groups and bias. Operands are read and written in place; only the filter
/// is reordered into oneDNN's own format, in the device's workspace.
std::unique_ptr<Convolution> MakeOnednnConvolution(Device& device, const ConvolutionShape& shape);

std::unique_ptr<Linear> MakeOnednnLinear(Device& device, const LinearShape& shape);

}  // namespace thinwire::cpu
