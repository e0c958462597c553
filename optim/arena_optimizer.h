// What the methods share: state vectors laid out as the arena, and the arena's two groups, weights
// and the rest, which differ in weight decay.
#pragma once

#include <string>
#include <vector>

#include "kernels/device.h"
#include "optim/optimizer.h"

namespace thinwire {

/// A range of the arena whose elements share one weight decay.
struct ParameterGroup {
  int64_t offset = 0, size = 0;
  double weight_decay = 0;

  /// This group's part of a vector laid out as the arena; of an absent one, an absent view.
  View Of(View vector) const { return vector ? vector.Slice(offset, size) : View{}; }
};

class ArenaOptimizer : public Optimizer {
 public:
  std::vector<OptimizerState> state() override;

 protected:
  ArenaOptimizer(const OptimizerOptions& options, WeightDecayForm decay_form,
                 ParameterArena& arena);

  /// A new state vector of zeros; `name` is what checkpoints call it.
  View AddState(const std::string& name);

  /// At most two groups: one pass over all if both are decayed alike.
  const std::vector<ParameterGroup>& groups() const { return groups_; }
  UpdateCommon Common(const ParameterGroup& group, double learning_rate,
                      ConstView gradient_scale) const;
  Device& device() const { return arena_.device(); }
  View gradients() const { return arena_.gradients(); }
  View values() const { return arena_.values(); }

 private:
  struct NamedBuffer {
    std::string name;
    Buffer buffer;
  };

  ParameterArena& arena_;
  WeightDecayForm decay_form_;
  std::vector<ParameterGroup> groups_;
  std::vector<NamedBuffer> state_;
};

}  // namespace thinwire
