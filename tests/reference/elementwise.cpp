#include "tests/reference/elementwise.h"

#include <algorithm>
#include <cmath>

#include "kernels/random.h"

namespace thinwire::reference {

std::vector<double> Relu(const std::vector<float>& x) {
  std::vector<double> y(x.begin(), x.end());
  for (double& value : y) {
    if (value < 0) value = 0;  // NaN stays
  }
  return y;
}

std::vector<double> Add(const std::vector<float>& a, const std::vector<float>& b, bool relu) {
  std::vector<double> y(a.size());
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = double{a[i]} + b[i];
    if (relu && y[i] < 0) y[i] = 0;
  }
  return y;
}

std::vector<double> ReluBackward(const std::vector<float>& y,
                                 const std::vector<float>& y_gradient) {
  std::vector<double> x_gradient(y.size());
  for (size_t i = 0; i < y.size(); ++i) x_gradient[i] = y[i] > 0 ? y_gradient[i] : 0;
  return x_gradient;
}

std::vector<double> Dropout(const std::vector<float>& x, float rate, uint64_t seed, uint64_t step) {
  std::vector<double> y(x.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const uint32_t word = Philox(seed, step, i / 4)[i % 4];
    const double uniform = (word >> 8) * 0x1p-24;
    y[i] = uniform >= rate ? x[i] / (1 - double{rate}) : 0;
  }
  return y;
}

std::vector<double> Average(const std::vector<float>& x, double decay,
                            const std::vector<float>& average) {
  std::vector<double> result(x.size());
  for (size_t i = 0; i < x.size(); ++i) result[i] = decay * average[i] + (1 - decay) * x[i];
  return result;
}

double SumOfSquares(const std::vector<float>& x) {
  double sum = 0;
  for (const float value : x) sum += double{value} * value;
  return sum;
}

double ClipScale(double sum_of_squares, double max_norm) {
  const double ratio = max_norm / (std::sqrt(sum_of_squares) + 1e-6);
  return ratio > 1 ? 1 : ratio;
}

int64_t FirstNonFinite(const std::vector<float>& x) {
  const auto found = std::find_if(x.begin(), x.end(), [](float v) { return !std::isfinite(v); });
  return found == x.end() ? -1 : found - x.begin();
}

}  // namespace thinwire::reference
