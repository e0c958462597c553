#include "tests/reference/convolution.h"

namespace thinwire::reference {
namespace {

/// Calls visit(input index, filter index, output index) for every product of the convolution.
template <typename Visit>
void ForEachProduct(const ConvolutionShape& s, const Visit& visit) {
  const int64_t in_group = s.in_channels / s.groups, out_group = s.out_channels / s.groups;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t p = 0; p < s.out_height(); ++p) {
      for (int64_t q = 0; q < s.out_width(); ++q) {
        for (int64_t k = 0; k < s.out_channels; ++k) {
          const int64_t output =
              ((n * s.out_height() + p) * s.out_width() + q) * s.out_channels + k;
          for (int64_t r = 0; r < s.kernel_height; ++r) {
            const int64_t y = p * s.stride_height + r - s.padding_height;
            if (y < 0 || y >= s.height) continue;
            for (int64_t t = 0; t < s.kernel_width; ++t) {
              const int64_t x = q * s.stride_width + t - s.padding_width;
              if (x < 0 || x >= s.width) continue;
              for (int64_t c = 0; c < in_group; ++c) {
                const int64_t channel = k / out_group * in_group + c;
                visit(((n * s.height + y) * s.width + x) * s.in_channels + channel,
                      ((k * s.kernel_height + r) * s.kernel_width + t) * in_group + c, output);
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace

std::vector<double> ConvolutionForward(const ConvolutionShape& shape,
                                       const std::vector<float>& input,
                                       const std::vector<float>& filter,
                                       const std::vector<float>& bias) {
  std::vector<double> output(static_cast<size_t>(shape.output_size()));
  if (shape.bias) {
    for (size_t i = 0; i < output.size(); ++i) output[i] = bias[i % bias.size()];
  }
  ForEachProduct(shape, [&](int64_t i, int64_t f, int64_t o) {
    output[static_cast<size_t>(o)] +=
        static_cast<double>(input[static_cast<size_t>(i)]) * filter[static_cast<size_t>(f)];
  });
  return output;
}

std::vector<double> ConvolutionBackwardData(const ConvolutionShape& shape,
                                            const std::vector<float>& output_gradient,
                                            const std::vector<float>& filter) {
  std::vector<double> input_gradient(static_cast<size_t>(shape.input_size()));
  ForEachProduct(shape, [&](int64_t i, int64_t f, int64_t o) {
    input_gradient[static_cast<size_t>(i)] +=
        static_cast<double>(output_gradient[static_cast<size_t>(o)]) *
        filter[static_cast<size_t>(f)];
  });
  return input_gradient;
}

FilterGradients ConvolutionBackwardWeights(const ConvolutionShape& shape,
                                           const std::vector<float>& input,
                                           const std::vector<float>& output_gradient) {
  FilterGradients gradients;
  gradients.filter.resize(static_cast<size_t>(shape.filter_size()));
  gradients.bias.resize(static_cast<size_t>(shape.out_channels));
  ForEachProduct(shape, [&](int64_t i, int64_t f, int64_t o) {
    gradients.filter[static_cast<size_t>(f)] += static_cast<double>(input[static_cast<size_t>(i)]) *
                                                output_gradient[static_cast<size_t>(o)];
  });
  for (size_t i = 0; i < output_gradient.size(); ++i) {
    gradients.bias[i % gradients.bias.size()] += output_gradient[i];
  }
  return gradients;
}

}  // namespace thinwire::reference
