#include "optim/arena_optimizer.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "kernels/arena_buckets.h"
#include "kernels/error.h"

namespace thinwire {

ArenaOptimizer::ArenaOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                               Communicator& communicator, WeightDecayForm usual_decay)
    : options_(options),
      arena_(arena),
      communicator_(communicator),
      shards_(arena.padded_size(), communicator.size(), options.server),
      checks_(arena.device()),
      decay_form_(usual_decay) {
  if (options.weight_decay_at != "auto") {
    decay_form_ = options.weight_decay_at == "decoupled" ? WeightDecayForm::kDecoupled
                                                         : WeightDecayForm::kCoupled;
  }
  const double rest_decay = options.decay_norm_and_bias ? options.weight_decay : 0;
  if (rest_decay == options.weight_decay) {
    groups_ = {{0, arena.padded_size(), options.weight_decay}};
  } else {
    groups_ = {{0, arena.decayed_size(), options.weight_decay},
               {arena.decayed_size(), arena.padded_size() - arena.decayed_size(), rest_decay}};
    std::erase_if(groups_, [](const ParameterGroup& group) { return group.size == 0; });
  }
}

View ArenaOptimizer::Add(OptimizerState state, int64_t size) {
  Buffer buffer = device().Allocate(size * SizeOf(arena_.type()));
  state.values = buffer.view(arena_.type()).Slice(0, size);
  state_.push_back({std::move(state), std::move(buffer)});
  return state_.back().state.values;
}

View ArenaOptimizer::AddState(const std::string& name) {
  return Add({.name = name, .values = {}, .range = {0, arena_.padded_size()}},
             arena_.padded_size());
}

View ArenaOptimizer::AddWorkerState(const std::string& name, CarryOver carry_over,
                                    const std::string& source) {
  return Add({.name = name,
              .values = {},
              .kind = StateKind::kWorker,
              .range = {0, arena_.padded_size()},
              .carry_over = carry_over,
              .source = source},
             arena_.padded_size());
}

View ArenaOptimizer::AddServerState(const std::string& name) {
  return Add({.name = name,
              .values = {},
              .kind = StateKind::kServer,
              .range = own_shard(),
              .carry_over = CarryOver::kReshard},
             own_shard().size());
}

std::vector<OptimizerState> ArenaOptimizer::state() {
  std::vector<OptimizerState> states;
  for (const NamedBuffer& entry : state_) states.push_back(entry.state);
  return states;
}

std::vector<Range> ArenaOptimizer::buckets() const {
  if (options_.bucket_elements == 0 || communicator_.size() == 1) return {};
  return CutEvenly(arena_, options_.bucket_elements);
}

void ArenaOptimizer::StartEarly(const Range& bucket) {
  if (!early_mean_) {
    const MemoryScope scope(device(), MemoryUse::kOptimizer);
    early_mean_ = device().Allocate(arena_.padded_size() * SizeOf(arena_.type()));
  }
  early_elements_ += bucket.size();
  const SideWork side(device());
  Average(Slice(gradients(), bucket), Slice(early_mean_.view(arena_.type()), bucket),
          Shards(bucket.size(), communicator_.size(), options_.server));
}

void ArenaOptimizer::Average(ConstView values, View mean, const Shards& shards) {
  const View own = Slice(mean, shards[communicator_.rank()]);
  communicator_.ReduceScatter(values, own, shards.sizes(), 1.0 / communicator_.size(),
                              Purpose::kUplink);
  communicator_.AllGather(own, mean, shards.sizes(), Purpose::kDownlink);
}

ArenaOptimizer::MeanGradient ArenaOptimizer::AverageGradients(ConstView gradient_scale) {
  const View gradients = arena_.gradients();
  checks_.Check(gradients,
                [this](int64_t index) { ThrowNonFiniteGradient(link_context(), index); });
  costs_.paper_bits_up += 32 * arena_.parameter_count();
  costs_.paper_bits_down += 32 * arena_.parameter_count();
  costs_.coded_bits_up += 32 * arena_.parameter_count();
  costs_.coded_bits_down += 32 * arena_.parameter_count();
  if (communicator_.size() == 1) return {gradients, gradient_scale};

  if (const int64_t begun = std::exchange(early_elements_, 0); begun > 0) {
    if (begun != arena_.padded_size() || gradient_scale) {
      throw Error(fmt::format("optimizer {}: {} of {} gradients were averaged early{}",
                              options_.name, begun, arena_.padded_size(),
                              gradient_scale ? ", and were to be scaled first" : ""),
                  "");
    }
    PhaseTimer timer(costs_.wire);
    device().JoinSideWork();
    return {early_mean_.view(arena_.type()), {}};
  }
  if (gradient_scale) {
    PhaseTimer timer(costs_.compress);
    device().Evaluate({.values = gradients, .gradient_scale = gradient_scale}, 0, gradients);
  }
  PhaseTimer timer(costs_.wire);
  Average(gradients, gradients, shards_);
  return {gradients, {}};
}

UpdateCommon ArenaOptimizer::Common(const ParameterGroup& group, double learning_rate,
                                    ConstView gradient_scale) const {
  return {learning_rate, group.weight_decay, decay_form_, gradient_scale,
          group.Of(arena_.bfloat16_values())};
}

void ArenaOptimizer::CountStep() {
  ++step_;
  costs_.compress = costs_.wire = costs_.decode = costs_.update = 0;
  costs_.contraction_up = costs_.contraction_down = costs_.mismatch_bound =
      std::numeric_limits<double>::quiet_NaN();
}

}  // namespace thinwire
