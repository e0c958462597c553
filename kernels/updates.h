// Fused optimizer updates: each is one pass over flat parameter memory.
#pragma once

#include "kernels/view.h"

namespace thinwire {

/// How weight decay enters (algorithms: "Conventions").
enum class WeightDecayForm : uint8_t {
  kCoupled,    // gradient += weight_decay * parameter, before everything else
  kDecoupled,  // parameter *= 1 - learning_rate * weight_decay, as AdamW
};

/// Settings shared by all updates. `gradient_scale`, unless empty, is one float in device memory
/// that multiplies every gradient first (gradient clipping): it stays on the device.
/// `bfloat16_x`, unless empty, receives the new parameters (float32) in bfloat16, in the same pass.
struct UpdateCommon {
  double learning_rate = 0;
  double weight_decay = 0;
  WeightDecayForm decay_form = WeightDecayForm::kCoupled;
  ConstView gradient_scale{};
  View bfloat16_x{};
};

/// buffer = momentum * buffer + (1 - dampening) * g; step = nesterov ? g + momentum * buffer :
/// buffer; x -= learning_rate * step. With momentum 0 there is no buffer. `first_step` stores g
/// undamped in the buffer, as PyTorch does.
struct MomentumUpdate {
  UpdateCommon common{};
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  bool first_step = false;
};

/// Adam and its kin. With t = `step`, counted from 1:
/// m = β1 m + (1-β1) g; v = β2 v + (1-β2) g²; AMSGrad: v̂ = max(v̂, v) takes v's place.
/// kUsual (PyTorch): x -= α/(1-β1^t) * m / (sqrt(v)/sqrt(1-β2^t) + ε).
/// kPaper (CD-Adam paper's AMSGrad; also 1-bit Adam's warm-up with epsilon outside when
///   epsilon_inside is false): x -= α m / sqrt(v + ε), no bias correction, 0/0 := 0.
struct AdamUpdate {
  enum class Form : uint8_t { kUsual, kPaper };
  UpdateCommon common{};
  Form form = Form::kUsual;
  bool epsilon_inside = true;  // kPaper only
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  int64_t step = 1;
};

/// v = α v + (1-α) g²; step = g / (sqrt(v) + ε); buffer = momentum * buffer + step; x -= lr *
/// buffer. Without a buffer (momentum 0) x -= lr * step.
struct RmspropUpdate {
  UpdateCommon common{};
  double alpha = 0.99;
  double epsilon = 1e-8;
  double momentum = 0;
};

/// x -= learning_rate * sign(g) with sign(0) = 0 here (nothing is sent, so zero can stay zero);
/// with momentum: buffer = momentum * buffer + (1 - momentum) * g and the sign of the buffer.
struct SignSgdUpdate {
  UpdateCommon common{};
  double momentum = 0;
};

/// 1-bit Adam's step once the variance is frozen:
/// x -= learning_rate * m / (sqrt(v / variance_correction) + ε); where v is 0 there has never been
/// a gradient, and x stays (but for decoupled decay). Coupled decay and `gradient_scale` belong to
/// the gradients that m was made of: they are not read here.
struct FrozenAdamUpdate {
  UpdateCommon common{};
  double epsilon = 1e-8;
  double variance_correction = 1;  // 1 - β2^T for a variance that was frozen after T steps
};

}  // namespace thinwire
