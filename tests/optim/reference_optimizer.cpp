#include "tests/optim/reference_optimizer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace thinwire {

ReferenceOptimizer::ReferenceOptimizer(const OptimizerOptions& options, std::vector<double> x,
                                       std::vector<bool> decayed)
    : options_(options),
      x_(std::move(x)),
      decayed_(std::move(decayed)),
      m_(x_.size()),
      v_(x_.size()),
      v_max_(x_.size()) {}

void ReferenceOptimizer::Step(double learning_rate, const std::vector<double>& gradient) {
  ++step_;
  const bool decoupled = options_.name == "adamw" || options_.name == "rmspropw";
  for (size_t i = 0; i < x_.size(); ++i) {
    const double decay = decayed_[i] ? options_.weight_decay : 0;
    const double g = decoupled ? gradient[i] : gradient[i] + decay * x_[i];
    const double x = decoupled ? x_[i] - learning_rate * decay * x_[i] : x_[i];
    const double updated = StepElement(i, g, x, learning_rate);
    largest_change_ = std::max(largest_change_, std::abs(updated - x_[i]));
    largest_value_ = std::max({largest_value_, std::abs(x_[i]), std::abs(updated)});
    x_[i] = updated;
  }
}

double ReferenceOptimizer::StepElement(size_t i, double g, double x, double lr) {
  const auto sign = [](double value) { return value > 0 ? 1.0 : value < 0 ? -1.0 : 0.0; };
  const std::string& name = options_.name;
  double& m = m_[i];
  double& v = v_[i];
  double& v_max = v_max_[i];

  if (name == "sgd") return x - lr * g;
  if (name == "momentum" || name == "nesterov") {
    const double momentum = options_.momentum.value_or(0.9);
    m = momentum * m + g;
    return x - lr * (name == "nesterov" ? g + momentum * m : m);
  }
  if (name == "signsgd") {
    const double momentum = options_.momentum.value_or(0);
    m = momentum * m + (1 - momentum) * g;
    return x - lr * sign(m);
  }
  if (name == "rmsprop" || name == "rmspropw") {
    v = options_.alpha * v + (1 - options_.alpha) * g * g;
    m = options_.momentum.value_or(0) * m + g / (std::sqrt(v) + options_.epsilon);
    return x - lr * m;
  }
  const bool paper = name == "amsgrad" && options_.amsgrad_form == "paper";
  const double beta1 = options_.beta1, beta2 = options_.beta2.value_or(paper ? 0.99 : 0.999);
  m = beta1 * m + (1 - beta1) * g;
  v = beta2 * v + (1 - beta2) * g * g;
  v_max = std::max(v_max, v);
  if (paper) {
    const double root = std::sqrt(v_max + options_.epsilon);
    return root == 0 ? x : x - lr * m / root;
  }
  const double m_hat = m / (1 - std::pow(beta1, step_));
  const double v_hat = (name == "amsgrad" ? v_max : v) / (1 - std::pow(beta2, step_));
  if (name == "adam" || name == "adamw" || name == "amsgrad") {
    return x - lr * m_hat / (std::sqrt(v_hat) + options_.epsilon);
  }
  throw std::invalid_argument(name);
}

}  // namespace thinwire
