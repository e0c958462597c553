#include "tests/reference/batch_norm.h"

#include <cmath>

namespace thinwire::reference {

BatchNormStatistics BatchNormMoments(const BatchNormShape& shape, const std::vector<float>& x,
                                     const std::vector<float>& running_mean,
                                     const std::vector<float>& running_variance) {
  const size_t channels = static_cast<size_t>(shape.channels);
  const double n = static_cast<double>(shape.rows);
  BatchNormStatistics s;
  s.mean.assign(channels, 0);
  s.variance.assign(channels, 0);
  for (size_t i = 0; i < x.size(); ++i) s.mean[i % channels] += x[i] / n;
  for (size_t i = 0; i < x.size(); ++i) {
    const double centred = x[i] - s.mean[i % channels];
    s.variance[i % channels] += centred * centred / n;
  }
  const double momentum = shape.momentum;
  for (size_t c = 0; c < channels; ++c) {
    s.inverse_deviation.push_back(1 / std::sqrt(s.variance[c] + shape.epsilon));
    const double unbiased = n > 1 ? s.variance[c] * n / (n - 1) : s.variance[c];
    s.running_mean.push_back((1 - momentum) * running_mean[c] + momentum * s.mean[c]);
    s.running_variance.push_back((1 - momentum) * running_variance[c] + momentum * unbiased);
  }
  return s;
}

std::vector<double> BatchNormForward(const BatchNormShape& shape, const std::vector<float>& x,
                                     const std::vector<float>& residual,
                                     const std::vector<float>& scale,
                                     const std::vector<float>& shift,
                                     const std::vector<double>& mean,
                                     const std::vector<double>& inverse_deviation) {
  const size_t channels = static_cast<size_t>(shape.channels);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % channels;
    y[i] = scale[c] * (x[i] - mean[c]) * inverse_deviation[c] + shift[c];
    if (shape.residual) y[i] += residual[i];
    if (shape.relu && y[i] < 0) y[i] = 0;
  }
  return y;
}

BatchNormGradients BatchNormBackward(
    const BatchNormShape& shape, const std::vector<float>& x, const std::vector<float>& y,
    const std::vector<float>& y_gradient, const std::vector<float>& y_gradient2,
    const std::vector<float>& scale, const std::vector<double>& mean,
    const std::vector<double>& inverse_deviation, const std::vector<float>& addend) {
  const size_t channels = static_cast<size_t>(shape.channels);
  const double n = static_cast<double>(shape.rows);
  BatchNormGradients gradients;
  gradients.scale.assign(channels, 0);
  gradients.shift.assign(channels, 0);
  auto normalised = [&](size_t i) {
    return (x[i] - mean[i % channels]) * inverse_deviation[i % channels];
  };
  for (size_t i = 0; i < x.size(); ++i) {
    double g = y_gradient[i];
    if (!y_gradient2.empty()) g += y_gradient2[i];
    if (shape.relu && !(y[i] > 0)) g = 0;
    gradients.residual.push_back(g);
    gradients.shift[i % channels] += g;
    gradients.scale[i % channels] += g * normalised(i);
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % channels;
    const double centred =
        gradients.residual[i] - gradients.shift[c] / n - normalised(i) * gradients.scale[c] / n;
    gradients.x.push_back(scale[c] * inverse_deviation[c] * centred);
    if (!addend.empty()) gradients.x.back() += addend[i];
  }
  return gradients;
}

}  // namespace thinwire::reference
