// Softmax cross-entropy on the CPU.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire {

/// Plans a loss. @throws Error if the shape makes no sense.
std::unique_ptr<Loss> MakeCpuLoss(const LossShape& shape);

}  // namespace thinwire
