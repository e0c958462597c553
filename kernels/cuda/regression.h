// Logistic regression on a GPU.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace thinwire {

/// @throws Error if the shape's arrays do not fit together.
std::unique_ptr<Regression> MakeCudaRegression(Device& device, const cuda::Queue& queue,
                                               const RegressionShape& shape);

}  // namespace thinwire
