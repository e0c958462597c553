#include "models/logistic_regression.h"

#include <algorithm>

namespace thinwire {
namespace {

constexpr const char* kName = "x";

}  // namespace

std::vector<TensorSpec> LogisticRegression::TensorSpecs(int64_t features, int64_t classes) {
  std::vector<int64_t> shape = {features};
  if (classes > 2) shape.insert(shape.begin(), classes);
  return {{.name = kName, .role = TensorRole::kLinearWeight, .shape = shape, .flattened_from = {}}};
}

LogisticRegression::LogisticRegression(ParameterArena& arena, const SparseRows& data,
                                       int64_t classes, double lambda)
    : lambda_(lambda),
      values_(arena.value(kName)),
      gradients_(arena.gradient(kName)),
      regression_(
          arena.device().MakeRegression({.data = data, .classes = classes, .type = arena.type()})) {
}

double LogisticRegression::Finish(const RegressionResult& rows, View gradient,
                                  RegressionResult* result) {
  if (result != nullptr) *result = rows;
  const double mean = rows.loss_sum / static_cast<double>(std::max<int64_t>(1, rows.rows));
  return mean + regression_->AddRegulariser(lambda_, values_, gradient);
}

double LogisticRegression::LossAndGradient(std::span<const int64_t> rows,
                                           RegressionResult* result) {
  return Finish(regression_->Evaluate(rows, values_, gradients_), gradients_, result);
}

double LogisticRegression::LossAndGradient(int64_t begin, int64_t end, RegressionResult* result) {
  return Finish(regression_->Evaluate(begin, end, values_, gradients_), gradients_, result);
}

double LogisticRegression::Loss(int64_t begin, int64_t end, RegressionResult* result) {
  return Finish(regression_->Evaluate(begin, end, values_, {}), {}, result);
}

}  // namespace thinwire
