// Logistic regression on sparse rows as an operation: loss, gradient and predictions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/view.h"

namespace thinwire {

/// Rows of a sparse matrix (CSR) with labels, in host memory that outlives the operation.
struct SparseRows {
  int64_t rows = 0, features = 0;
  std::span<const int64_t> starts;    // rows + 1 offsets into the two below
  std::span<const int32_t> columns;   // rising within a row
  std::span<const double> values;
  std::span<const int32_t> labels;    // in [0, classes)
};

struct RegressionShape {
  SparseRows data;
  /// 2: one weight vector [features], label 0 is y = -1 and label 1 is y = +1. More: softmax,
  /// weights [classes, features].
  int64_t classes = 2;
  DataType type = DataType::kFloat32;  // of weights and gradients; sums are float64

  /// Elements of the weights.
  int64_t weights() const { return (classes == 2 ? 1 : classes) * data.features; }
};

struct RegressionResult {
  double loss_sum = 0;  // of the rows, without the regulariser
  int64_t rows = 0;
  /// Rows whose class has the largest score, ties to the lower class; NaN counts as wrong.
  int64_t correct = 0;
};

/// Results do not depend on the number of threads.
class Regression {
 public:
  virtual ~Regression() = default;

  /// gradient (overwritten) = sum of the rows' gradients / number of rows: summed first and divided
  /// last, so that absent features give exact zeros; zeros, too, if there are no rows. An empty
  /// `gradient` asks for the loss alone. Rows may be listed twice, and then count twice.
  /// Weights and gradient are dense views of classes (1 if binary) times features elements.
  virtual RegressionResult Evaluate(std::span<const int64_t> rows, ConstView weights,
                                    View gradient) = 0;
  /// The same for rows [begin, end).
  virtual RegressionResult Evaluate(int64_t begin, int64_t end, ConstView weights,
                                    View gradient) = 0;

  /// Returns lambda Σ w² / (1 + w²), and adds its gradient, 2 lambda w / (1 + w²)², to `gradient`
  /// unless that is empty.
  virtual double AddRegulariser(double lambda, ConstView weights, View gradient) = 0;
};

/// @throws Error if the arrays do not fit together, whatever the device.
void CheckShape(const RegressionShape& shape);

}  // namespace thinwire
