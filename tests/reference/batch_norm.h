// Batch normalisation in float64, straight from its definition.
#pragma once

#include <vector>

#include "kernels/operations.h"

namespace thinwire::reference {

struct BatchNormStatistics {
  std::vector<double> mean, variance;                  // the batch's own, biased
  std::vector<double> inverse_deviation;               // 1 / sqrt(variance + epsilon)
  std::vector<double> running_mean, running_variance;  // after the update
};
BatchNormStatistics BatchNormMoments(const BatchNormShape& shape, const std::vector<float>& x,
                                     const std::vector<float>& running_mean,
                                     const std::vector<float>& running_variance);

/// `residual` is empty unless the shape has one.
std::vector<double> BatchNormForward(const BatchNormShape& shape, const std::vector<float>& x,
                                     const std::vector<float>& residual,
                                     const std::vector<float>& scale,
                                     const std::vector<float>& shift,
                                     const std::vector<double>& mean,
                                     const std::vector<double>& inverse_deviation);

struct BatchNormGradients {
  std::vector<double> x, residual, scale, shift;
};
/// `y` decides ReLU's mask. `y_gradient2` and `addend` may be empty.
BatchNormGradients BatchNormBackward(
    const BatchNormShape& shape, const std::vector<float>& x, const std::vector<float>& y,
    const std::vector<float>& y_gradient, const std::vector<float>& y_gradient2,
    const std::vector<float>& scale, const std::vector<double>& mean,
    const std::vector<double>& inverse_deviation, const std::vector<float>& addend);

}  // namespace thinwire::reference
