// Batch normalisation on the CPU.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire {

/// Plans a batch normalisation. @throws Error if the shape makes no sense.
std::unique_ptr<BatchNorm> MakeCpuBatchNorm(Device& device, const BatchNormShape& shape);

}  // namespace thinwire
