// Logistic regression straight from its definition, in extended precision where there is one.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/regression.h"

namespace thinwire::reference {

struct RegressionOutcome {
  RegressionResult result;
  std::vector<double> gradient;  // mean over the rows; zeros if there are none
};

RegressionOutcome EvaluateRegression(const RegressionShape& shape, const std::vector<int64_t>& rows,
                                     const std::vector<double>& weights);

/// lambda Σ w² / (1 + w²); its gradient is added to `gradient`.
double AddRegulariser(double lambda, const std::vector<double>& weights,
                      std::vector<double>& gradient);

}  // namespace thinwire::reference
