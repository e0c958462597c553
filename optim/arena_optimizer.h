// What the methods share: state vectors laid out as the arena, the arena's two groups, weights and
// the rest, which differ in weight decay, and the mean of the ranks' gradients.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "optim/links.h"
#include "optim/optimizer.h"
#include "optim/shards.h"

namespace thinwire {

/// A range of the arena whose elements share one weight decay.
struct ParameterGroup {
  int64_t offset = 0, size = 0;
  double weight_decay = 0;

  /// This group's part of a vector laid out as the arena; of an absent one, an absent view.
  View Of(View vector) const { return vector ? vector.Slice(offset, size) : View{}; }
  /// What of it lies in a range of the arena.
  ParameterGroup Within(const Range& range) const {
    const int64_t begin = std::clamp(range.begin, offset, offset + size);
    const int64_t end = std::clamp(range.end, begin, offset + size);
    return {begin, end - begin, weight_decay};
  }
};

class ArenaOptimizer : public Optimizer {
 public:
  void CheckStep() override { checks_.Read(); }
  std::vector<Range> buckets() const override;
  void StartEarly(const Range& bucket) override;
  std::vector<OptimizerState> state() override;

 protected:
  /// @param usual_decay what weight_decay_at "auto" means; "worker" and "update" are one for
  /// methods
  ///     whose workers send gradients as they are.
  ArenaOptimizer(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator,
                 WeightDecayForm usual_decay = WeightDecayForm::kCoupled);

  /// A new state vector of zeros, the same on all ranks; `name` is what checkpoints call it.
  View AddState(const std::string& name);
  /// The same for one of a worker's own. `source` is read by CarryOver::kFromServer.
  View AddWorkerState(const std::string& name, CarryOver carry_over = CarryOver::kMean,
                      const std::string& source = {});
  /// This rank's shard of a server's vector.
  View AddServerState(const std::string& name);

  /// The mean of the ranks' gradients, laid out as the arena, and the scale that is left to apply.
  struct MeanGradient {
    View values;
    ConstView scale;
  };
  /// Uncompressed methods: averages what StartEarly has not, each rank's gradients times its own
  /// `gradient_scale` first.
  MeanGradient AverageGradients(ConstView gradient_scale);
  /// For uncompressed methods' can_start_early.
  bool communication_overlaps() const {
    return options_.bucket_elements > 0 && communicator_.size() > 1 && communicator_.overlaps();
  }

  /// At most two groups: one pass over all if both are decayed alike, or one has no tensors.
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  /// For an update of the whole group.
  UpdateCommon Common(const ParameterGroup& group, double learning_rate,
                      ConstView gradient_scale) const;
  /// To be called first in Step: counts it and starts its clocks.
  void CountStep();

  Device& device() const { return arena_.device(); }
  View gradients() const { return arena_.gradients(); }
  View values() const { return arena_.values(); }
  LinkContext link_context() {
    return {options_, arena_, communicator_, shards_, costs_, step_, checks_};
  }
  const Shards& shards() const { return shards_; }
  const Range& own_shard() const { return shards_[communicator_.rank()]; }

  const OptimizerOptions options_;
  ParameterArena& arena_;
  Communicator& communicator_;

 private:
  /// `mean` = the mean of the ranks' `values`, both of the part of the arena that `shards` cut.
  void Average(ConstView values, View mean, const Shards& shards);

  struct NamedBuffer {
    OptimizerState state;
    Buffer buffer;
  };
  View Add(OptimizerState state, int64_t size);

  const Shards shards_;
  FiniteChecks checks_;
  WeightDecayForm decay_form_;
  std::vector<ParameterGroup> groups_;
  std::vector<NamedBuffer> state_;
  Buffer early_mean_;           // of StartEarly
  int64_t early_elements_ = 0;  // of it so far, this step
};

}  // namespace thinwire
