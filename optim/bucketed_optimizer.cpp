#include "optim/bucketed_optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/error.h"

namespace thinwire {
namespace {

/// A part of the arena, and the method for it.
struct Bucket {
  Bucket(OptimizerFactory* make, const OptimizerOptions& options, const ParameterArena& whole,
         Communicator& communicator, const Range& range)
      : range(range), arena(whole, range), optimizer(make(options, arena, communicator)) {}

  const Range range;
  ParameterArena arena;
  const std::unique_ptr<Optimizer> optimizer;
};

/// The mean of the buckets' contractions by what they contract, which is the whole vector's.
class MeanContraction {
 public:
  void Add(double contraction, double squares) {
    kept_ += contraction * squares;
    squares_ += squares;
  }
  double mean() const { return squares_ == 0 ? 1 + kept_ : kept_ / squares_; }  // NaN if one is
  double squares() const { return squares_; }

 private:
  double kept_ = 0, squares_ = 0;
};

class BucketedOptimizer : public Optimizer {
 public:
  BucketedOptimizer(OptimizerFactory* make, const OptimizerOptions& options, ParameterArena& arena,
                    Communicator& communicator, std::span<const Range> ranges)
      : name_(options.name), overlaps_(communicator.overlaps()) {
    OptimizerOptions of_bucket = options;
    of_bucket.bucket_elements = 0;
    for (const Range& range : ranges) {
      buckets_.push_back(std::make_unique<Bucket>(make, of_bucket, arena, communicator, range));
    }
  }

  void BeginStep(double learning_rate) override {
    for (const auto& bucket : buckets_) bucket->optimizer->BeginStep(learning_rate);
  }

  std::vector<Range> buckets() const override {
    std::vector<Range> ranges;
    for (const auto& bucket : buckets_) ranges.push_back(bucket->range);
    return ranges;
  }

  bool can_start_early() const override { return overlaps_ && !measure_; }

  void StartEarly(const Range& range) override {
    const auto bucket = std::find_if(buckets_.begin(), buckets_.end(), [&](const auto& candidate) {
      return candidate->range == range;
    });
    if (bucket == buckets_.end()) {
      throw Error(fmt::format("optimizer {}: elements {} to {} are no bucket", name_, range.begin,
                              range.end),
                  "");
    }
    (*bucket)->optimizer->StartEarly({0, range.size()});
    ++started_;
  }

  void Step(double learning_rate, ConstView gradient_scale) override {
    const size_t started = std::exchange(started_, 0);
    if (started != 0 && started != buckets_.size()) {
      throw Error(fmt::format("optimizer {}: {} of {} buckets were started early", name_, started,
                              buckets_.size()),
                  "");
    }
    ++step_;
    for (const auto& bucket : buckets_) bucket->optimizer->Step(learning_rate, gradient_scale);
    AddUpCosts();
  }

  void CheckStep() override {
    for (const auto& bucket : buckets_) bucket->optimizer->CheckStep();
  }

  std::vector<OptimizerState> state() override {
    std::vector<OptimizerState> states;
    for (const auto& bucket : buckets_) {
      for (OptimizerState state : bucket->optimizer->state()) {
        state.range.begin += bucket->range.begin;
        state.range.end += bucket->range.begin;
        states.push_back(std::move(state));
      }
    }
    return states;
  }

  void StateRestored() override {
    for (const auto& bucket : buckets_) bucket->optimizer->StateRestored();
  }
  void set_measure(bool measure) override {
    Optimizer::set_measure(measure);
    for (const auto& bucket : buckets_) bucket->optimizer->set_measure(measure);
  }
  void set_step(int64_t step) override {
    Optimizer::set_step(step);
    for (const auto& bucket : buckets_) bucket->optimizer->set_step(step);
  }

 private:
  /// Bits are of all steps, here; with the buckets they are of the last one.
  void AddUpCosts() {
    StepCosts sums = costs_;
    sums.compress = sums.wire = sums.decode = sums.update = sums.mismatch_bound = 0;
    MeanContraction up, down;
    for (const auto& bucket : buckets_) {
      const StepCosts& costs = bucket->optimizer->costs();
      sums.paper_bits_up += costs.paper_bits_up;
      sums.paper_bits_down += costs.paper_bits_down;
      sums.coded_bits_up += costs.coded_bits_up;
      sums.coded_bits_down += costs.coded_bits_down;
      sums.compress = sums.compress + costs.compress;
      sums.wire = sums.wire + costs.wire;
      sums.decode = sums.decode + costs.decode;
      sums.update = sums.update + costs.update;
      up.Add(costs.contraction_up, costs.squares_up);
      down.Add(costs.contraction_down, costs.squares_down);
      sums.mismatch_bound += costs.mismatch_bound;
      bucket->optimizer->restore_costs({});
    }
    sums.contraction_up = up.mean();
    sums.contraction_down = down.mean();
    sums.squares_up = up.squares();
    sums.squares_down = down.squares();
    costs_ = sums;
  }

  const std::string name_;
  const bool overlaps_;
  /// Rising, so that of several tensors with a NaN the same one is named as without buckets.
  std::vector<std::unique_ptr<Bucket>> buckets_;
  size_t started_ = 0;  // of them, this step
};

}  // namespace

std::unique_ptr<Optimizer> MakeBucketed(OptimizerFactory* make, const OptimizerOptions& options,
                                        ParameterArena& arena, Communicator& communicator,
                                        std::span<const Range> buckets) {
  return std::make_unique<BucketedOptimizer>(make, options, arena, communicator, buckets);
}

}  // namespace thinwire
