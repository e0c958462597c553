// Each chunk of rows sums its gradients in float64 in memory of its own; the chunks' sums are then
// added in order. How many chunks there are depends on the rows alone. A softmax keeps weights and
// sums as [features, classes], so that a stored value meets all classes in one stretch of memory.
#include "kernels/cpu/regression.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

constexpr int64_t kMaxChunks = 16;
constexpr int64_t kBlock = 64;  // rows

/// log(1 + e) for e in [0, 1]. What 1 + e rounds off is given back to first order: as exact as
/// log1p, and as fast as log.
double LogOfOnePlus(double e) {
  const double sum = 1 + e;
  return std::log(sum) + (e - (sum - 1)) / sum;
}

/// Row numbers from `first` on.
struct ConsecutiveRows {
  int64_t first;
  int64_t operator[](int64_t i) const { return first + i; }
};

class CpuRegression : public Regression {
 public:
  explicit CpuRegression(const RegressionShape& shape)
      : shape_(shape),
        sums_(static_cast<size_t>(Chunks(Work(shape.data.starts.back())) * shape.weights())),
        transposed_(static_cast<size_t>(shape.classes == 2 ? 0 : shape.weights())),
        scores_(static_cast<size_t>(kMaxChunks * shape.classes)) {}

  RegressionResult Evaluate(std::span<const int64_t> rows, ConstView weights,
                            View gradient) override {
    int64_t stored = 0;
    for (const int64_t row : rows) {
      assert(row >= 0 && row < shape_.data.rows);
      stored += start(row + 1) - start(row);
    }
    return EvaluateRows(rows.data(), std::ssize(rows), stored, weights, gradient);
  }

  RegressionResult Evaluate(int64_t begin, int64_t end, ConstView weights, View gradient) override {
    assert(begin >= 0 && begin <= end && end <= shape_.data.rows);
    return EvaluateRows(ConsecutiveRows{begin}, end - begin, start(end) - start(begin), weights,
                        gradient);
  }

  double AddRegulariser(double lambda, ConstView weights, View gradient) override {
    assert(weights.size == shape_.weights() && weights.type == shape_.type);
    return cpu::WithFloatingType(shape_.type, [&]<typename T>() {
      const T* w = weights.as<T>();
      double sum = 0;
      for (int64_t j = 0; j < weights.size; ++j) {
        const double square = static_cast<double>(w[j]) * static_cast<double>(w[j]);
        sum += square / (1 + square);
      }
      if (gradient) {
        T* g = gradient.as<T>();
        for (int64_t j = 0; j < weights.size; ++j) {
          const auto value = static_cast<double>(w[j]);
          const double one_plus = 1 + value * value;
          g[j] = static_cast<T>(static_cast<double>(g[j]) +
                                2 * lambda * value / (one_plus * one_plus));
        }
      }
      return lambda * sum;
    });
  }

 private:
  int64_t start(int64_t row) const { return shape_.data.starts[static_cast<size_t>(row)]; }
  bool binary() const { return shape_.classes == 2; }

  /// Multiplications for so many stored values.
  int64_t Work(int64_t stored) const { return stored * (binary() ? 1 : shape_.classes); }

  /// A chunk must be worth a thread's start, and much more than the adding up of its sums.
  int64_t Chunks(int64_t work) const {
    constexpr int64_t least_work = 32768;
    return std::clamp<int64_t>(work / std::max(least_work, 4 * shape_.weights()), 1, kMaxChunks);
  }

  template <typename Rows>
  RegressionResult EvaluateRows(Rows rows, int64_t count, int64_t stored, ConstView weights,
                                View gradient) {
    assert(weights.size == shape_.weights() && weights.type == shape_.type);
    assert(!gradient || (gradient.size == weights.size && gradient.type == shape_.type));
    // No more than were planned for, even if rows are listed again and again.
    const int64_t chunks = std::min(Chunks(Work(stored)), Chunks(Work(shape_.data.starts.back())));
    return cpu::WithFloatingType(shape_.type, [&]<typename T>() {
      if (!binary()) Transpose(weights.as<T>());
      std::array<RegressionResult, kMaxChunks> results{};
      cpu::ParallelChunks(chunks, [&](int64_t chunk) {
        const int64_t begin = count * chunk / chunks, end = count * (chunk + 1) / chunks;
        double* sums = nullptr;
        if (gradient) {
          sums = sums_.data() + chunk * shape_.weights();
          std::fill_n(sums, shape_.weights(), 0.0);
        }
        RegressionResult& result = results[static_cast<size_t>(chunk)];
        for (int64_t i = begin; i < end;) {
          RegressionResult block;  // so that few roundings follow one another
          for (const int64_t stop = std::min(end, i + kBlock); i < stop; ++i) {
            if (binary()) {
              BinaryRow(rows[i], weights.as<T>(), sums, block);
            } else {
              SoftmaxRow(rows[i], scores_.data() + chunk * shape_.classes, sums, block);
            }
          }
          result.loss_sum += block.loss_sum;
          result.correct += block.correct;
        }
      });
      if (gradient) WriteGradient(chunks, count, gradient.as<T>());
      RegressionResult total{.loss_sum = 0, .rows = count, .correct = 0};
      for (const RegressionResult& result : results) {
        total.loss_sum += result.loss_sum;
        total.correct += result.correct;
      }
      return total;
    });
  }

  /// Adds the row's loss to `result`, and its gradient to `sums` unless that is null.
  template <typename T>
  void BinaryRow(int64_t row, const T* weights, double* sums, RegressionResult& result) const {
    const int64_t begin = start(row), end = start(row + 1);
    const int32_t* columns = shape_.data.columns.data();
    const double* values = shape_.data.values.data();
    double score = 0;
    for (int64_t i = begin; i < end; ++i) {
      score += values[i] * static_cast<double>(weights[columns[i]]);
    }
    const bool positive = shape_.data.labels[static_cast<size_t>(row)] == 1;
    const double margin = positive ? score : -score;
    const double e = std::exp(-std::abs(margin));
    result.loss_sum += LogOfOnePlus(e) + (margin < 0 ? -margin : 0);
    result.correct += positive ? score > 0 : score <= 0;
    if (sums == nullptr) return;
    const double share = (margin < 0 ? 1 : e) / (1 + e);  // 1 / (1 + exp(margin))
    const double factor = positive ? -share : share;
    for (int64_t i = begin; i < end; ++i) sums[columns[i]] += factor * values[i];
  }

  /// As BinaryRow, with `scores` as scratch memory for one number a class.
  void SoftmaxRow(int64_t row, double* scores, double* sums, RegressionResult& result) const {
    const int64_t classes = shape_.classes, begin = start(row), end = start(row + 1);
    const int32_t* columns = shape_.data.columns.data();
    const double* values = shape_.data.values.data();
    std::fill_n(scores, classes, 0.0);
    for (int64_t i = begin; i < end; ++i) {
      const double* weights = transposed_.data() + columns[i] * classes;
      for (int64_t k = 0; k < classes; ++k) scores[k] += values[i] * weights[k];
    }
    const int64_t label = shape_.data.labels[static_cast<size_t>(row)];
    const int64_t best = std::max_element(scores, scores + classes) - scores;
    const double largest = scores[best], own = scores[label];
    // Each sum without its own largest part, which would swallow what is small beside it.
    double all_but_best = 0, all_but_label = 0;
    for (int64_t k = 0; k < classes; ++k) {
      scores[k] = std::exp(scores[k] - largest);
      if (k != best) all_but_best += scores[k];
      if (k != label) all_but_label += scores[k];
    }
    result.loss_sum += std::log1p(all_but_best) + (largest - own);
    result.correct += best == label && !std::isnan(all_but_best);
    if (sums == nullptr) return;
    const double total = 1 + all_but_best;
    for (int64_t k = 0; k < classes; ++k) scores[k] /= total;
    scores[label] = -all_but_label / total;
    for (int64_t i = begin; i < end; ++i) {
      double* sum = sums + columns[i] * classes;
      for (int64_t k = 0; k < classes; ++k) sum[k] += scores[k] * values[i];
    }
  }

  template <typename T>
  void Transpose(const T* weights) {
    const int64_t classes = shape_.classes, features = shape_.data.features;
    for (int64_t j = 0; j < features; ++j) {
      double* out = transposed_.data() + j * classes;
      for (int64_t k = 0; k < classes; ++k) out[k] = static_cast<double>(weights[k * features + j]);
    }
  }

  template <typename T>
  void WriteGradient(int64_t chunks, int64_t count, T* gradient) const {
    const int64_t size = shape_.weights(), features = shape_.data.features;
    const auto rows = static_cast<double>(std::max<int64_t>(1, count));
    constexpr int64_t grain = 16384;
    cpu::ParallelFor(size, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          sum += sums_[static_cast<size_t>(chunk * size + i)];
        }
        const int64_t at = binary() ? i : i % shape_.classes * features + i / shape_.classes;
        gradient[at] = static_cast<T>(sum / rows);
      }
    });
  }

  const RegressionShape shape_;
  std::vector<double> sums_;        // [chunks, weights]
  std::vector<double> transposed_;  // of a softmax: its weights
  std::vector<double> scores_;      // [chunks, classes]
};

}  // namespace

std::unique_ptr<Regression> MakeCpuRegression(const RegressionShape& shape) {
  CheckShape(shape);
  return std::make_unique<CpuRegression>(shape);
}

}  // namespace thinwire
