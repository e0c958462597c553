// The papers' test problem: logistic regression with a nonconvex regulariser,
//   f(x) = (1/N) Σ loss_i(x) + λ Σ x_j² / (1 + x_j²),
// binary (log(1 + exp(-y a·x)), x of [features]) or softmax (x of [classes, features]), no
// intercept, x_0 = 0.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "kernels/parameter_arena.h"
#include "kernels/regression.h"

namespace thinwire {

class LogisticRegression {
 public:
  /// The one tensor, "x".
  static std::vector<TensorSpec> TensorSpecs(int64_t features, int64_t classes);

  /// Arena and data must outlive it; the arena's type is the type of computation.
  LogisticRegression(ParameterArena& arena, const SparseRows& data, int64_t classes, double lambda);

  /// The rows' mean loss with the regulariser at the arena's values, which is returned; its
  /// gradient goes to the arena's gradients. `result`, unless null, receives the sums.
  double LossAndGradient(std::span<const int64_t> rows, RegressionResult* result = nullptr);
  double LossAndGradient(int64_t begin, int64_t end, RegressionResult* result = nullptr);
  /// The loss alone; gradients stay as they are.
  double Loss(int64_t begin, int64_t end, RegressionResult* result = nullptr);

 private:
  /// The mean of what `rows` holds with the regulariser, whose gradient is added to `gradient`.
  double Finish(const RegressionResult& rows, View gradient, RegressionResult* result);

  double lambda_;
  View values_, gradients_;  // of "x"
  std::unique_ptr<Regression> regression_;
};

}  // namespace thinwire
