// Convolution in float64, straight from its definition; layouts as kernels/operations.h.
#pragma once

#include <vector>

#include "kernels/operations.h"

namespace thinwire::reference {

/// `bias` is empty unless the shape has one.
std::vector<double> ConvolutionForward(const ConvolutionShape& shape,
                                       const std::vector<float>& input,
                                       const std::vector<float>& filter,
                                       const std::vector<float>& bias);

std::vector<double> ConvolutionBackwardData(const ConvolutionShape& shape,
                                            const std::vector<float>& output_gradient,
                                            const std::vector<float>& filter);

struct FilterGradients {
  std::vector<double> filter;
  std::vector<double> bias;  // always computed
};
FilterGradients ConvolutionBackwardWeights(const ConvolutionShape& shape,
                                           const std::vector<float>& input,
                                           const std::vector<float>& output_gradient);

}  // namespace thinwire::reference
