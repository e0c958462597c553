// Optimizers: one file a method, each a few fused passes over the parameter arena.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/parameter_arena.h"

namespace thinwire {

/// Settings of all methods; each reads those that it knows. An empty optional is the method's own
/// usual value.
struct OptimizerOptions {
  std::string name = "momentum";  // one of OptimizerNames()
  /// momentum, nesterov: 0.9. rmsprop, rmspropw, signsgd: 0, that is none. sgd has none.
  std::optional<double> momentum = {};
  double beta1 = 0.9;                // adam, adamw, amsgrad
  std::optional<double> beta2 = {};  // likewise: 0.999, but 0.99 for amsgrad in the paper's form
  double epsilon = 1e-8;             // adam, adamw, amsgrad (the paper's nu), rmsprop, rmspropw
  double alpha = 0.99;               // rmsprop, rmspropw: decay of the squared gradient's average
  double weight_decay = 0;           // decoupled in adamw and rmspropw, else added to the gradient
  bool decay_norm_and_bias = true;   // false: batch norm parameters and biases are not decayed
  /// paper: the CD-Adam paper's, epsilon inside the root, no bias correction. corrected: PyTorch's,
  /// epsilon outside the root, bias corrected.
  std::string amsgrad_form = "paper";
};

/// A vector of an optimizer's state, laid out as the arena.
struct OptimizerState {
  std::string name;  // "momentum", "variance", …
  View values;
};

/// Updates an arena's values from its gradients. Its whole state is state() and step(): copied into
/// a fresh optimizer of the same options, they make it go on bit for bit.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One update. `gradient_scale`, unless empty, is a float in device memory that multiplies the
  /// gradient (clipping). Padding stays zero. Allocates nothing.
  virtual void Step(double learning_rate, ConstView gradient_scale) = 0;
  /// All state vectors, for checkpoints, in a fixed order; empty for plain SGD.
  virtual std::vector<OptimizerState> state() = 0;

  /// Steps taken; checkpoints restore it.
  int64_t step() const { return step_; }
  void set_step(int64_t step) { step_ = step; }

 protected:
  int64_t step_ = 0;
};

/// The arena must outlive the optimizer.
/// @throws Error (usage) naming the nearest method, or a setting out of range.
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options, ParameterArena& arena);

/// sgd momentum nesterov adam adamw amsgrad rmsprop rmspropw signsgd.
std::vector<std::string> OptimizerNames();

}  // namespace thinwire
