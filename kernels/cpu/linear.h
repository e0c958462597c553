// The linear layer on the CPU.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire {

/// @throws Error (usage) for a shape without features.
std::unique_ptr<Linear> MakeCpuLinear(Device& device, const LinearShape& shape);

}  // namespace thinwire
