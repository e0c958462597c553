#include "tests/reference/linear.h"

namespace thinwire::reference {
namespace {

/// Calls visit(input index, weight index, output index) for every product.
template <typename Visit>
void ForEachProduct(const LinearShape& shape, const Visit& visit) {
  for (int64_t row = 0; row < shape.batch; ++row) {
    for (int64_t o = 0; o < shape.out_features; ++o) {
      for (int64_t i = 0; i < shape.in_features; ++i) {
        visit(static_cast<size_t>(row * shape.in_features + i),
              static_cast<size_t>(o * shape.in_features + i),
              static_cast<size_t>(row * shape.out_features + o));
      }
    }
  }
}

}  // namespace

std::vector<double> LinearForward(const LinearShape& shape, const std::vector<float>& input,
                                  const std::vector<float>& weight,
                                  const std::vector<float>& bias) {
  std::vector<double> output(static_cast<size_t>(shape.batch * shape.out_features));
  if (shape.bias) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = bias[i % bias.size()];
  }
  ForEachProduct(shape, [&](size_t i, size_t w, size_t o) {
    output[o] += static_cast<double>(input[i]) * weight[w];
  });
  return output;
}

std::vector<double> LinearBackwardData(const LinearShape& shape,
                                       const std::vector<float>& output_gradient,
                                       const std::vector<float>& weight) {
  std::vector<double> input_gradient(static_cast<size_t>(shape.batch * shape.in_features));
  ForEachProduct(shape, [&](size_t i, size_t w, size_t o) {
    input_gradient[i] += static_cast<double>(output_gradient[o]) * weight[w];
  });
  return input_gradient;
}

LinearGradients LinearBackwardWeights(const LinearShape& shape, const std::vector<float>& input,
                                      const std::vector<float>& output_gradient) {
  LinearGradients gradients;
  gradients.weight.resize(static_cast<size_t>(shape.out_features * shape.in_features));
  gradients.bias.resize(static_cast<size_t>(shape.out_features));
  ForEachProduct(shape, [&](size_t i, size_t w, size_t o) {
    gradients.weight[w] += static_cast<double>(input[i]) * output_gradient[o];
  });
  for (size_t i = 0; i < output_gradient.size(); ++i) {
    gradients.bias[i % gradients.bias.size()] += output_gradient[i];
  }
  return gradients;
}

}  // namespace thinwire::reference
