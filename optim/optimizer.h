// Optimizers: one file a method, each a few fused passes over the parameter arena.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/parameter_arena.h"

namespace thinwire {

/// Settings of all methods; each reads those that it knows.
struct OptimizerOptions {
  std::string name = "momentum";  // sgd momentum nesterov adam adamw amsgrad rmsprop rmspropw signsgd
  double momentum = 0.9;          // momentum, nesterov, rmsprop, signsgd
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double alpha = 0.99;            // rmsprop's decay of the squared gradient
  double weight_decay = 0;
  bool decay_norm_and_bias = true;  // false: batch norm parameters and biases are not decayed
  std::string amsgrad_form = "paper";  // paper (CD-Adam's Algorithm 1) or usual (PyTorch's)
};

/// A vector of an optimizer's state, laid out as the arena.
struct OptimizerState {
  std::string name;  // "momentum", "variance", …
  View values;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One update of the arena's values from its gradients. `gradient_scale`, unless empty, is a
  /// float in device memory that multiplies the gradient (clipping).
  virtual void Step(double learning_rate, ConstView gradient_scale) = 0;
  /// All state vectors, for checkpoints; empty for plain SGD.
  virtual std::vector<OptimizerState> state() = 0;

  /// Steps taken; checkpoints restore it.
  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }

 protected:
  int64_t step_ = 0;
};

/// @throws Error (usage) naming the nearest method, or a setting out of range.
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options, ParameterArena& arena);
std::vector<std::string> OptimizerNames();

}  // namespace thinwire
