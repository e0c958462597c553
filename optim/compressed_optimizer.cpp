#include "optim/compressed_optimizer.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/error.h"
#include "optim/measured_links.h"

namespace thinwire {

CompressedOptimizer::CompressedOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                                         Communicator& communicator, const Usual& usual)
    : ArenaOptimizer(options, arena, communicator),
      single_way_(options.single_way.value_or(usual.single_way)),
      decays_at_worker_(options.weight_decay_at == "auto" || options.weight_decay_at == "worker") {
  const bool own = options.compressor == "auto" || usual.compressor == "vote";
  const std::string& compressor = own ? usual.compressor : options.compressor;
  const LinkContext context = link_context();
  uplink_ = MakeUplink(context, compressor);
  downlink_ = MakeDownlink(context, single_way_ ? "identity" : compressor);
  if (compressor == "vote") return;  // is no approximation of anything
  uplink_ = MeasureUplink(context, measure_, std::move(uplink_));
  downlink_ = MeasureDownlink(context, measure_, std::move(downlink_));
}

void CompressedOptimizer::StartEarly(const Range& bucket) {
  if (bucket.size() != arena_.padded_size()) {
    throw Error(fmt::format("optimizer {}: {} of {} gradients were to be sent early", options_.name,
                            bucket.size(), arena_.padded_size()),
                "");
  }
  started_early_ = true;
  const SideWork side(device());
  CountStep();
  Send(learning_rate_, {});
}

void CompressedOptimizer::Step(double learning_rate, ConstView gradient_scale) {
  if (!std::exchange(started_early_, false)) {
    CountStep();
    Send(learning_rate, gradient_scale);
  } else if (gradient_scale) {
    throw Error(fmt::format("optimizer {}: gradients were sent early, and were to be scaled first",
                            options_.name),
                "");
  }
  device().JoinSideWork();
  Receive(learning_rate);
}

std::vector<OptimizerState> CompressedOptimizer::state() {
  uplink_->Settle();
  downlink_->Settle();
  return ArenaOptimizer::state();
}

CompressionInput CompressedOptimizer::Gradient(ConstView gradient_scale) const {
  CompressionInput input{.values = gradients(), .gradient_scale = gradient_scale};
  if (decays_at_worker_ && options_.weight_decay != 0) {
    input.parameters = values();
    input.weight_decay = options_.weight_decay;
    input.decayed_size =
        options_.decay_norm_and_bias ? arena_.padded_size() : arena_.decayed_size();
  }
  return input;
}

UpdateCommon CompressedOptimizer::Common(const ParameterGroup& group, double learning_rate) const {
  UpdateCommon common = ArenaOptimizer::Common(group, learning_rate, {});
  if (decays_at_worker_) common.weight_decay = 0;
  return common;
}

void CompressedOptimizer::UpdateWith(AdamUpdate& update, double learning_rate, View gradient,
                                     View momentum, View variance, View max_variance) {
  PhaseTimer timer(costs_.update);
  update.step = step_;
  for (const ParameterGroup& group : groups()) {
    update.common = Common(group, learning_rate);
    device().Update(update, group.Of(gradient), group.Of(momentum), group.Of(variance),
                    group.Of(max_variance), group.Of(values()));
  }
}

void CompressedOptimizer::UpdateWith(MomentumUpdate& update, double learning_rate, View gradient,
                                     View buffer) {
  UpdateWith(update, learning_rate, gradient, buffer, {0, arena_.padded_size()});
}

void CompressedOptimizer::UpdateWith(MomentumUpdate& update, double learning_rate, View gradient,
                                     View buffer, const Range& range) {
  PhaseTimer timer(costs_.update);
  for (const ParameterGroup& group : groups()) {
    update.common = Common(group, learning_rate);
    const ParameterGroup part = group.Within(range);
    if (part.size == 0) continue;
    update.common.bfloat16_x = part.Of(arena_.bfloat16_values());
    device().Update(update, part.Of(gradient), part.Of(buffer), part.Of(values()));
  }
}

void CompressedOptimizer::ReceiveAndUpdate(AdamUpdate& update, double learning_rate, View estimate,
                                           View momentum, View variance, View max_variance) {
  if (groups().size() == 1 || decays_at_worker_) {
    update.step = step_;
    update.common = Common(groups()[0], learning_rate);
    update.common.bfloat16_x = arena_.bfloat16_values();
    downlink_->ReceiveAndUpdate(update, estimate, momentum, variance, max_variance, values());
  } else {
    downlink_->ReceiveAdd(1, estimate);
    UpdateWith(update, learning_rate, estimate, momentum, variance, max_variance);
  }
}

View CompressedOptimizer::Scratch(int64_t size) {
  scratch_.push_back(device().Allocate(size * SizeOf(arena_.type())));
  return scratch_.back().view(arena_.type()).Slice(0, size);
}

AdamUpdate MakeAmsgradUpdate(const OptimizerOptions& options) {
  const bool paper = options.amsgrad_form == "paper";
  AdamUpdate update;
  update.form = paper ? AdamUpdate::Form::kPaper : AdamUpdate::Form::kUsual;
  update.beta1 = options.beta1;
  update.beta2 = options.beta2.value_or(paper ? 0.99 : 0.999);
  update.epsilon = options.epsilon;
  return update;
}

}  // namespace thinwire
