// Every method in plain float64, element by element, as its paper or PyTorch's documentation has
// it: the truth for the optimizers' tests.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace thinwire {

class ReferenceOptimizer {
 public:
  /// @param decayed Which elements of x weight decay reaches.
  ReferenceOptimizer(const OptimizerOptions& options, std::vector<double> x,
                     std::vector<bool> decayed);

  void Step(double learning_rate, const std::vector<double>& gradient);

  const std::vector<double>& x() const { return x_; }
  /// The largest change of an element in one step so far.
  double largest_change() const { return largest_change_; }
  /// The largest |x| so far.
  double largest_value() const { return largest_value_; }

 private:
  double StepElement(size_t i, double g, double x, double learning_rate);

  OptimizerOptions options_;
  std::vector<double> x_;
  std::vector<bool> decayed_;
  std::vector<double> m_, v_, v_max_;
  int step_ = 0;
  double largest_change_ = 0, largest_value_ = 0;
};

}  // namespace thinwire
