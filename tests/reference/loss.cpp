#include "tests/reference/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace thinwire::reference {

CrossEntropyResult CrossEntropy(const LossShape& shape, const std::vector<float>& logits,
                                const std::vector<int32_t>& labels, double gradient_scale,
                                double own_label) {
  const size_t classes = static_cast<size_t>(shape.classes);
  CrossEntropyResult out;
  out.logits_gradient.assign(logits.size(), 0);
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0) continue;
    ++out.result.rows;
    const float* z = logits.data() + row * classes;
    double* gradient = out.logits_gradient.data() + row * classes;
    const int32_t partner = labels[labels.size() - 1 - row];
    const size_t own = static_cast<size_t>(labels[row]);
    const size_t other = partner < 0 ? own : static_cast<size_t>(partner);
    const size_t label = own_label >= 0.5 ? own : other;
    if (!std::all_of(z, z + classes, [](float v) { return std::isfinite(v); })) {
      out.result.loss_sum = std::numeric_limits<double>::quiet_NaN();
      std::fill(gradient, gradient + classes, out.result.loss_sum);
      continue;
    }
    const double largest = *std::max_element(z, z + classes);
    double sum = 0;
    for (size_t j = 0; j < classes; ++j) sum += std::exp(z[j] - largest);
    for (size_t j = 0; j < classes; ++j) {
      const double target = shape.label_smoothing / static_cast<double>(classes) +
                            (1.0 - shape.label_smoothing) *
                                ((j == own ? own_label : 0.0) + (j == other ? 1 - own_label : 0.0));
      const double log_probability = z[j] - largest - std::log(sum);
      out.result.loss_sum -= target * log_probability;
      gradient[j] = gradient_scale * (std::exp(log_probability) - target);
    }
    std::vector<size_t> order(classes);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return z[a] > z[b]; });
    const auto rank = std::find(order.begin(), order.end(), label) - order.begin();
    out.result.correct_top1 += rank < 1;
    out.result.correct_top5 += rank < 5;
  }
  return out;
}

}  // namespace thinwire::reference
