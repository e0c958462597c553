// Logistic regression on the CPU.
#pragma once

#include <memory>

#include "kernels/regression.h"

namespace thinwire {

/// Plans a regression. @throws Error if the rows do not keep the promises of SparseRows.
std::unique_ptr<Regression> MakeCpuRegression(const RegressionShape& shape);

}  // namespace thinwire
