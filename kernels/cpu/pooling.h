// Pooling on the CPU.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire {

/// Plan a pooling. @throws Error if the shape makes no sense: a window larger than the padded
/// image, padding as large as the window, or a max window of more than 256 pixels.
std::unique_ptr<Pooling> MakeCpuPooling(const PoolingShape& shape);
std::unique_ptr<GlobalAveragePooling> MakeCpuGlobalAveragePooling(
    const GlobalAveragePoolingShape& shape);

}  // namespace thinwire
