#include "optim/arena_optimizer.h"

namespace thinwire {

ArenaOptimizer::ArenaOptimizer(const OptimizerOptions& options, WeightDecayForm decay_form,
                               ParameterArena& arena)
    : arena_(arena), decay_form_(decay_form) {
  const double rest_decay = options.decay_norm_and_bias ? options.weight_decay : 0;
  if (rest_decay == options.weight_decay) {
    groups_ = {{0, arena.padded_size(), options.weight_decay}};
  } else {
    groups_ = {{0, arena.decayed_size(), options.weight_decay},
               {arena.decayed_size(), arena.padded_size() - arena.decayed_size(), rest_decay}};
  }
}

View ArenaOptimizer::AddState(const std::string& name) {
  const int64_t bytes = arena_.padded_size() * SizeOf(DataType::kFloat32);
  state_.push_back({name, device().Allocate(bytes)});
  return state_.back().buffer.view().Slice(0, arena_.padded_size());
}

std::vector<OptimizerState> ArenaOptimizer::state() {
  std::vector<OptimizerState> views;
  for (const NamedBuffer& entry : state_) {
    views.push_back({entry.name, entry.buffer.view().Slice(0, arena_.padded_size())});
  }
  return views;
}

UpdateCommon ArenaOptimizer::Common(const ParameterGroup& group, double learning_rate,
                                    ConstView gradient_scale) const {
  return {learning_rate, group.weight_decay, decay_form_, gradient_scale};
}

}  // namespace thinwire
