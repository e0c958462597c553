// The linear layer in float64, straight from its definition.
#pragma once

#include <vector>

#include "kernels/operations.h"

namespace thinwire::reference {

/// `bias` is empty unless the shape has one.
std::vector<double> LinearForward(const LinearShape& shape, const std::vector<float>& input,
                                  const std::vector<float>& weight, const std::vector<float>& bias);

std::vector<double> LinearBackwardData(const LinearShape& shape,
                                       const std::vector<float>& output_gradient,
                                       const std::vector<float>& weight);

struct LinearGradients {
  std::vector<double> weight;
  std::vector<double> bias;  // always computed
};
LinearGradients LinearBackwardWeights(const LinearShape& shape, const std::vector<float>& input,
                                      const std::vector<float>& output_gradient);

}  // namespace thinwire::reference
