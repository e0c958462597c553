// 1-bit Adam (Tang et al., "1-bit Adam: Communication Efficient Large-Scale Training with Adam's
// Convergence Speed", ICML 2021, Algorithm 1).
//
//   input  learning rate α, β1, β2, ε, warm-up of T_w rounds;  m = v = δ_i = δ = 0
//          the first T_w rounds: Adam on the mean gradient, uncompressed
//   1      g ← mean ∇f_i(x) + λ x
//   2      m ← β1 m + (1 − β1) g,  v ← β2 v + (1 − β2) g²
//   3      x ← x − α m / (√v + ε)                          (bias correction by option)
//          afterwards, with v frozen
//          worker i
//   4      m_i ← β1 m + (1 − β1) (∇f_i(x) + λ x)
//   5      q_i ← C(m_i + δ_i),  send q_i,  δ_i ← m_i + δ_i − q_i
//          server
//   6      send m = S(mean q_i + δ),  δ ← mean q_i + δ − m
//          every worker
//   7      x ← x − α m / (√v + ε)                          where v > 0
//
// Where v is 0 there never was a gradient, and one bit cannot say zero, so x stays there. With bias
// correction the frozen v is v / (1 − β2^T_w).
#include <cmath>

#include "optim/compressed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class OnebitAdam : public CompressedOptimizer {
 public:
  OnebitAdam(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : CompressedOptimizer(options, arena, communicator, {.compressor = "sign"}) {
    const double beta2 = options.beta2.value_or(0.99);
    update_.form = options.bias_correction ? AdamUpdate::Form::kUsual : AdamUpdate::Form::kPaper;
    update_.epsilon_inside = false;
    update_.beta1 = options.beta1;
    update_.beta2 = beta2;
    update_.epsilon = options.epsilon;
    frozen_update_.epsilon = options.epsilon;
    if (options.bias_correction) {
      frozen_update_.variance_correction =
          1 - std::pow(beta2, static_cast<double>(options.freeze_steps));
    }
    momentum_ = AddState("momentum");
    variance_ = AddState("variance");
    worker_error_ = AddWorkerState("worker_error");
    if (!single_way()) server_error_ = AddServerState("server_error");
    if (single_way()) mean_ = Scratch(own_shard().size());
  }

  bool can_start_early() const override { return warms_up() && communication_overlaps(); }

  void StartEarly(const Range& bucket) override {
    if (warms_up()) {
      ArenaOptimizer::StartEarly(bucket);
    } else {
      CompressedOptimizer::StartEarly(bucket);
    }
  }

  void Step(double learning_rate, ConstView gradient_scale) override {
    if (warms_up()) {
      CountStep();
      WarmUp(learning_rate, gradient_scale);
    } else {
      CompressedOptimizer::Step(learning_rate, gradient_scale);
    }
  }

 protected:
  void Send(double, ConstView gradient_scale) override {
    CompressionInput worker_momentum = Gradient(gradient_scale);  // 4
    worker_momentum.factor = 1 - update_.beta1;
    worker_momentum.added = momentum_;
    worker_momentum.added_factor = update_.beta1;
    uplink().SendSum(worker_momentum, worker_error_);  // 5
    if (single_way()) {
      downlink().SendMean(uplink(), mean_);
    } else {
      downlink().SendMeanError(uplink(), server_error_);  // 6
    }
  }

  void Receive(double learning_rate) override {
    downlink().Receive(momentum_, [&](const Range& range) {
      PhaseTimer timer(costs_.update);
      for (const ParameterGroup& group : groups()) {  // 7
        frozen_update_.common = Common(group, learning_rate);
        const ParameterGroup part = group.Within(range);
        frozen_update_.common.bfloat16_x = part.Of(arena_.bfloat16_values());
        device().Update(frozen_update_, part.Of(momentum_), part.Of(variance_), part.Of(values()));
      }
    });
  }

 private:
  /// Whether the next step is of the warm-up.
  bool warms_up() const { return step_ < options_.freeze_steps; }

  void WarmUp(double learning_rate, ConstView gradient_scale) {
    const MeanGradient mean = AverageGradients(gradient_scale);  // 1
    PhaseTimer timer(costs_.update);
    update_.step = step_;
    for (const ParameterGroup& group : groups()) {  // 2, 3
      update_.common = ArenaOptimizer::Common(group, learning_rate, mean.scale);
      device().Update(update_, group.Of(mean.values), group.Of(momentum_), group.Of(variance_),
                      View{}, group.Of(values()));
    }
  }

  AdamUpdate update_;
  FrozenAdamUpdate frozen_update_;
  View momentum_, variance_;            // m, v
  View worker_error_, server_error_{};  // δ_i, δ
  View mean_{};                         // the server's, of its shard
};

}  // namespace

std::unique_ptr<Optimizer> MakeOnebitAdam(const OptimizerOptions& options, ParameterArena& arena,
                                          Communicator& communicator) {
  return std::make_unique<OnebitAdam>(options, arena, communicator);
}

}  // namespace thinwire
