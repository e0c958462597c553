#include "optim/markov_gradient.h"

#include "optim/measured_links.h"

namespace thinwire {

MarkovOptimizer::MarkovOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                                 Communicator& communicator, const Usual& usual,
                                 const std::string& first_message)
    : CompressedOptimizer(options, arena, communicator, usual) {
  update_.momentum = options.momentum.value_or(0);
  if (update_.momentum != 0) buffer_ = AddState("momentum");
  worker_estimate_ = AddWorkerState("worker_estimate", CarryOver::kFromServer, "server_estimate");
  server_estimate_ = AddServerState("server_estimate");
  common_estimate_ = single_way() ? Scratch(arena.padded_size()) : AddState("common_estimate");
  const std::string& first =
      options.first_message == "auto" ? first_message : options.first_message;
  if (first == "full") {
    const LinkContext context = link_context();
    full_uplink_ = MeasureUplink(context, measure_, MakeDenseUplink(context, WholeArena(arena)));
  }
}

void MarkovOptimizer::Follow(const CompressionInput& v) {
  link().SendDifference(v, worker_estimate_);
}

void MarkovOptimizer::Reply() {
  if (single_way()) {
    link().Mean(true, server_estimate_);
    downlink().Send(server_estimate_);
  } else {
    downlink().SendMeanDifference(link(), server_estimate_, Shard(common_estimate_));
  }
}

void MarkovOptimizer::Descend(double learning_rate) {
  const auto descend = [&](const Range& range) {
    UpdateWith(update_, learning_rate, common_estimate_, buffer_, range);
  };
  if (single_way()) {
    downlink().Receive(common_estimate_, descend);
  } else {
    downlink().ReceiveAdd(1, common_estimate_, descend);
  }
}

}  // namespace thinwire
