#include "tests/reference/regression.h"

#include <algorithm>
#include <cmath>

namespace thinwire::reference {
namespace {

using Real = long double;

/// A row's scores, one a class; a binary one's are 0 and x·w.
std::vector<Real> Scores(const RegressionShape& shape, size_t row,
                         const std::vector<double>& weights) {
  const SparseRows& data = shape.data;
  std::vector<Real> scores(static_cast<size_t>(shape.classes));
  for (size_t k = 0; k < scores.size(); ++k) {
    if (shape.classes == 2 && k == 0) continue;
    const size_t first = shape.classes == 2 ? 0 : k * static_cast<size_t>(data.features);
    for (int64_t i = data.starts[row]; i < data.starts[row + 1]; ++i) {
      const auto at = static_cast<size_t>(i);
      scores[k] += Real{data.values[at]} * weights[first + static_cast<size_t>(data.columns[at])];
    }
  }
  return scores;
}

}  // namespace

RegressionOutcome EvaluateRegression(const RegressionShape& shape, const std::vector<int64_t>& rows,
                                     const std::vector<double>& weights) {
  const SparseRows& data = shape.data;
  std::vector<Real> sums(weights.size());
  Real loss = 0;
  RegressionOutcome out;
  out.result.rows = std::ssize(rows);
  for (const int64_t listed : rows) {
    const auto row = static_cast<size_t>(listed);
    const std::vector<Real> scores = Scores(shape, row, weights);
    const auto best = std::max_element(scores.begin(), scores.end());
    const auto label = static_cast<size_t>(data.labels[row]);
    Real total = 0, others = 0;
    for (auto score = scores.begin(); score != scores.end(); ++score) {
      total += std::exp(*score - *best);
      if (score != best) others += std::exp(*score - *best);
    }
    loss += std::log1p(others) + *best - scores[label];
    out.result.correct += best - scores.begin() == data.labels[row];
    for (size_t k = shape.classes == 2 ? 1 : 0; k < scores.size(); ++k) {
      const Real factor = std::exp(scores[k] - *best) / total - (k == label ? 1 : 0);
      const size_t first = shape.classes == 2 ? 0 : k * static_cast<size_t>(data.features);
      for (int64_t i = data.starts[row]; i < data.starts[row + 1]; ++i) {
        const auto at = static_cast<size_t>(i);
        sums[first + static_cast<size_t>(data.columns[at])] += factor * data.values[at];
      }
    }
  }
  out.result.loss_sum = static_cast<double>(loss);
  const Real count = std::max<Real>(1, static_cast<Real>(rows.size()));
  for (const Real sum : sums) out.gradient.push_back(static_cast<double>(sum / count));
  return out;
}

double AddRegulariser(double lambda, const std::vector<double>& weights,
                      std::vector<double>& gradient) {
  Real sum = 0;
  for (size_t j = 0; j < weights.size(); ++j) {
    const Real w = weights[j], one_plus = 1 + w * w;
    sum += w * w / one_plus;
    gradient[j] += static_cast<double>(2 * Real{lambda} * w / (one_plus * one_plus));
  }
  return static_cast<double>(lambda * sum);
}

}  // namespace thinwire::reference
