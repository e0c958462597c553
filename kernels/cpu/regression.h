// Logistic regression on the CPU.
#pragma once

#include <memory>

#include "kernels/regression.h"

namespace thinwire {

std::unique_ptr<Regression> MakeCpuRegression(const RegressionShape& shape);

}  // namespace thinwire
