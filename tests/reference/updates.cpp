#include "tests/reference/updates.h"

#include <algorithm>
#include <cmath>

namespace thinwire::reference {
namespace {

/// The gradient that a rule works on; applies decoupled decay to x.
double Prepare(const UpdateCommon& common, double gradient_scale, float gradient, double& x) {
  double g = gradient_scale * gradient;
  if (common.decay_form == WeightDecayForm::kCoupled) {
    g += common.weight_decay * x;
  } else {
    x *= 1 - common.learning_rate * common.weight_decay;
  }
  return g;
}

}  // namespace

void Update(const MomentumUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& buffer, std::vector<double>& x) {
  for (size_t i = 0; i < x.size(); ++i) {
    const double g = Prepare(update.common, gradient_scale, gradient[i], x[i]);
    double step = g;
    if (!buffer.empty()) {
      buffer[i] = update.first_step ? g : update.momentum * buffer[i] + (1 - update.dampening) * g;
      step = update.nesterov ? g + update.momentum * buffer[i] : buffer[i];
    }
    x[i] -= update.common.learning_rate * step;
  }
}

void Update(const AdamUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& momentum, std::vector<double>& variance,
            std::vector<double>& max_variance, std::vector<double>& x) {
  const double t = static_cast<double>(update.step);
  const double rate = update.common.learning_rate;
  for (size_t i = 0; i < x.size(); ++i) {
    const double g = Prepare(update.common, gradient_scale, gradient[i], x[i]);
    momentum[i] = update.beta1 * momentum[i] + (1 - update.beta1) * g;
    variance[i] = update.beta2 * variance[i] + (1 - update.beta2) * g * g;
    double v = variance[i];
    if (!max_variance.empty()) v = max_variance[i] = std::max(max_variance[i], v);
    if (update.form == AdamUpdate::Form::kUsual) {
      const double deviation = std::sqrt(v) / std::sqrt(1 - std::pow(update.beta2, t));
      const double corrected = momentum[i] / (1 - std::pow(update.beta1, t));
      x[i] -= momentum[i] == 0 ? 0 : rate * corrected / (deviation + update.epsilon);
    } else {
      const double deviation =
          update.epsilon_inside ? std::sqrt(v + update.epsilon) : std::sqrt(v) + update.epsilon;
      x[i] -= momentum[i] == 0 ? 0 : rate * momentum[i] / deviation;
    }
  }
}

void Update(const RmspropUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& variance, std::vector<double>& buffer, std::vector<double>& x) {
  for (size_t i = 0; i < x.size(); ++i) {
    const double g = Prepare(update.common, gradient_scale, gradient[i], x[i]);
    variance[i] = update.alpha * variance[i] + (1 - update.alpha) * g * g;
    double step = g / (std::sqrt(variance[i]) + update.epsilon);
    if (!buffer.empty()) step = buffer[i] = update.momentum * buffer[i] + step;
    x[i] -= update.common.learning_rate * step;
  }
}

void Update(const SignSgdUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& buffer, std::vector<double>& x) {
  for (size_t i = 0; i < x.size(); ++i) {
    double g = Prepare(update.common, gradient_scale, gradient[i], x[i]);
    if (!buffer.empty()) {
      g = buffer[i] = update.momentum * buffer[i] + (1 - update.momentum) * g;
    }
    const double sign = (g > 0) - (g < 0);
    x[i] -= update.common.learning_rate * sign;
  }
}

void Update(const FrozenAdamUpdate& update, const std::vector<double>& momentum,
            const std::vector<double>& variance, std::vector<double>& x) {
  for (size_t i = 0; i < x.size(); ++i) {
    Prepare(update.common, 0, 0, x[i]);
    if (variance[i] == 0) continue;
    const double deviation = std::sqrt(variance[i] / update.variance_correction);
    x[i] -= update.common.learning_rate * momentum[i] / (deviation + update.epsilon);
  }
}

}  // namespace thinwire::reference
