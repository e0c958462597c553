// The scaled sign on the GPU.
#pragma once

#include <memory>

#include "kernels/compression.h"
#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire {

std::unique_ptr<SignCompression> MakeCudaSignCompression(Device& device, const cuda::Queue& queue,
                                                         const SignShape& shape);

}  // namespace thinwire
