// Softmax cross-entropy, a row at a time in float64: logits are few, so exactness is free.
#include "kernels/cpu/loss.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A row's labels, the heavier one first; twice the same if there is but one.
struct Target {
  int32_t first, second;
  double first_weight;
};

struct RowResult {
  double loss = 0;
  bool counted = false, top1 = false, top5 = false;
};

class CpuLoss : public Loss {
 public:
  explicit CpuLoss(const LossShape& shape)
      : shape_(shape),
        rows_(static_cast<size_t>(shape.batch)),
        results_(static_cast<size_t>(shape.results)) {}

  void Run(ConstView logits, ConstView labels, float own_label, float gradient_scale,
           View logits_gradient) override {
    assert(logits.size == shape_.batch * shape_.classes && labels.size == shape_.batch);
    constexpr int64_t chunk_elements = 2048;
    const int64_t grain = std::max<int64_t>(1, chunk_elements / shape_.classes);
    cpu::ParallelFor(shape_.batch, grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = row * shape_.classes;
        float* gradient = logits_gradient ? logits_gradient.as<float>() + first : nullptr;
        rows_[static_cast<size_t>(row)] = RunRow(
            logits.as<float>() + first, TargetOf(labels, row, own_label), gradient_scale, gradient);
      }
    });
    results_[static_cast<size_t>(next_)] = SumOfRows();
    next_ = (next_ + 1) % shape_.results;
  }

  std::vector<LossResult> ReadResults(int64_t count) override {
    return LastResults(results_, next_, count);
  }

 private:
  LossResult SumOfRows() const {
    LossResult result;
    for (const RowResult& row : rows_) {
      result.loss_sum += row.loss;
      result.rows += row.counted;
      result.correct_top1 += row.top1;
      result.correct_top5 += row.top5;
    }
    return result;
  }

  Target TargetOf(ConstView labels, int64_t row, float own_label) const {
    const int32_t own = labels.as<int32_t>()[row];
    const int32_t partner = labels.as<int32_t>()[shape_.batch - 1 - row];
    if (own < 0 || partner < 0 || own_label == 1) return {own, own, 1};
    const double weight = own_label;
    return weight < 0.5 ? Target{partner, own, 1 - weight} : Target{own, partner, weight};
  }

  /// `gradient` may be null. A non-finite logit or a label that is not a class makes loss and
  /// gradient NaN.
  RowResult RunRow(const float* logits, const Target& target, float gradient_scale,
                   float* gradient) const {
    const int64_t classes = shape_.classes;
    const int32_t label = target.first;
    const double first_weight = target.first_weight;
    RowResult result;
    if (label < 0) {
      if (gradient != nullptr) std::fill_n(gradient, classes, 0.0f);
      return result;
    }
    result.counted = true;
    if (std::max(label, target.second) >= classes ||
        cpu::Isa().float32.first_non_finite(logits, classes) >= 0) {
      result.loss = kNaN;
      if (gradient != nullptr) std::fill_n(gradient, classes, static_cast<float>(kNaN));
      return result;
    }
    const double largest = *std::max_element(logits, logits + classes);
    const double smoothing = shape_.label_smoothing;
    double exponentials = 0, from_largest = 0;
    int64_t better = 0;
    for (int64_t j = 0; j < classes; ++j) {
      const double exponential = std::exp(logits[j] - largest);
      if (gradient != nullptr) gradient[j] = static_cast<float>(exponential);
      exponentials += exponential;
      from_largest += logits[j] - largest;
      better += logits[j] > logits[label] || (logits[j] == logits[label] && j < label);
    }
    const double target_logit = first_weight * (logits[label] - largest) +
                                (1 - first_weight) * (logits[target.second] - largest);
    const double uniform = smoothing / static_cast<double>(classes);
    result.loss = std::log(exponentials) - (1 - smoothing) * target_logit - uniform * from_largest;
    result.top1 = better < 1;
    result.top5 = better < 5;
    if (gradient != nullptr) {
      for (int64_t j = 0; j < classes; ++j) {
        const double weight =
            (j == label ? first_weight : 0) + (j == target.second ? 1 - first_weight : 0);
        const double probability = gradient[j] / exponentials;
        gradient[j] = static_cast<float>(gradient_scale *
                                         (probability - (uniform + (1 - smoothing) * weight)));
      }
    }
    return result;
  }

  const LossShape shape_;
  std::vector<RowResult> rows_;
  std::vector<LossResult> results_;
  int64_t next_ = 0;  // of the results, the one to come
};

}  // namespace

std::unique_ptr<Loss> MakeCpuLoss(const LossShape& shape) {
  CheckShape(shape);
  return std::make_unique<CpuLoss>(shape);
}

}  // namespace thinwire
