// Local error feedback and step-ahead error feedback, with momentum (Xu, Huo, Huang, "Step-Ahead
// Error Feedback for Distributed Training with Compressed Gradient", AAAI 2021, Algorithm 1).
//
//   input  rates η_t, momentum μ, averaging period p;  e_i = m_i = e = 0;  t = 0, 1, …
//          worker i
//   1      saef: if (t + 1) mod p = 0: e_i ← mean of all e_i
//   2      y_i ← x_t − e_i                        (ef: y_i ← x_t)
//   3      m_i ← μ m_i + ∇f_i(y_i) + λ y_i
//   4      Δ_i ← e_i + η_t m_i
//   5      q_i ← C(Δ_i),  send q_i
//   6      e_i ← Δ_i − q_i
//          server
//   7      both ways: Δ ← e + mean q_i,  send q = S(Δ),  e ← Δ − q
//          single way: send q = mean q_i in full
//          every worker
//   8      x_{t+1} ← x_t − q
//
// What is compressed is a difference of models, with η_t inside, so errors need no rescaling when
// the rate changes. x_t is kept: y_i + e_i would round differently on each worker.
#include <cassert>

#include "optim/compressed_optimizer.h"
#include "optim/measured_links.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class StepAheadErrorFeedback : public CompressedOptimizer {
 public:
  StepAheadErrorFeedback(const OptimizerOptions& options, ParameterArena& arena,
                         Communicator& communicator, bool step_ahead, double momentum)
      : CompressedOptimizer(options, arena, communicator, {.compressor = "sign"}),
        step_ahead_(step_ahead),
        momentum_(momentum) {
    worker_error_ = AddWorkerState("worker_error");
    if (momentum_ != 0) worker_momentum_ = AddWorkerState("worker_momentum");
    if (!single_way()) server_error_ = AddServerState("server_error");
    if (step_ahead_) x_ = Scratch(arena.padded_size());
    if (single_way()) mean_ = Scratch(own_shard().size());
  }

  void BeginStep(double learning_rate) override {
    CompressedOptimizer::BeginStep(learning_rate);
    if (!step_ahead_) return;
    uplink().Settle();
    const int64_t period = options_.error_average_period;
    if (period > 0 && (step_ + 1) % period == 0) AverageErrors();  // 1
    device().Copy(values(), x_);
    device().Evaluate(Times(-1, worker_error_), 1, values());  // 2
    arena_.RoundValues();
    ahead_ = true;
  }

 protected:
  void Send(double learning_rate, ConstView gradient_scale) override {
    assert(ahead_ == step_ahead_);
    CompressionInput v = Gradient(gradient_scale);
    if (worker_momentum_) {
      PhaseTimer timer(costs_.compress);
      device().Evaluate(v, momentum_, worker_momentum_);  // 3
      v = Times(1, worker_momentum_);
    }
    v.factor = learning_rate;
    uplink().SendSum(v, worker_error_);  // 4 – 6
    if (single_way()) {
      downlink().SendMean(uplink(), mean_);
    } else {
      downlink().SendMeanError(uplink(), server_error_);  // 7
    }
  }

  void Receive(double) override {
    if (step_ahead_) device().Copy(x_, values());
    ahead_ = false;
    downlink().ReceiveAdd(-1, values());  // 8
    arena_.RoundValues();
    if (measure_) costs_.mismatch_bound = MismatchBound();
  }

 private:
  void AverageErrors() {
    communicator_.AllReduce(worker_error_, 1.0 / communicator_.size(), Purpose::kState);
    const int64_t bits = 32 * arena_.parameter_count();
    costs_.paper_bits_up += bits;
    costs_.paper_bits_down += bits;
    costs_.coded_bits_up += bits;
    costs_.coded_bits_down += bits;
  }

  /// The paper's bound of the gradient mismatch: ef |e|² + mean |e_i|², saef |e|² + mean |e_i −
  /// e|²; e = 0 if single-way.
  double MismatchBound() {
    uplink().Settle();
    downlink().Settle();
    const LinkContext context = link_context();
    const double server = server_error_ ? SumOfSquaresOverShards(context, server_error_) : 0;
    if (!difference_) difference_ = Scratch(arena_.padded_size());
    device().Zero(difference_);
    if (step_ahead_ && server_error_) {
      communicator_.AllGather(server_error_, difference_, shards().sizes(), Purpose::kMeasurement);
    }
    device().Evaluate(Times(1, worker_error_), -1, difference_);
    // Every rank's is a whole vector here, so the sum over ranks is over the workers.
    return server + SumOfSquaresOverShards(context, difference_) / communicator_.size();
  }

  bool step_ahead_, ahead_ = false;
  double momentum_;
  View worker_error_, worker_momentum_{}, server_error_{};  // e_i, m_i, e
  View x_{}, mean_{}, difference_{};  // x_t; the server's mean of its shard; e_i − e
};

std::unique_ptr<Optimizer> Make(const OptimizerOptions& options, ParameterArena& arena,
                                Communicator& communicator, bool step_ahead, double momentum) {
  return std::make_unique<StepAheadErrorFeedback>(options, arena, communicator, step_ahead,
                                                  momentum);
}

}  // namespace

std::unique_ptr<Optimizer> MakeEfSgd(const OptimizerOptions& options, ParameterArena& arena,
                                     Communicator& communicator) {
  return Make(options, arena, communicator, false, 0);
}
std::unique_ptr<Optimizer> MakeEfSgdm(const OptimizerOptions& options, ParameterArena& arena,
                                      Communicator& communicator) {
  return Make(options, arena, communicator, false, options.momentum.value_or(0.9));
}
std::unique_ptr<Optimizer> MakeSaefSgd(const OptimizerOptions& options, ParameterArena& arena,
                                       Communicator& communicator) {
  return Make(options, arena, communicator, true, 0);
}
std::unique_ptr<Optimizer> MakeSaefSgdm(const OptimizerOptions& options, ParameterArena& arena,
                                        Communicator& communicator) {
  return Make(options, arena, communicator, true, options.momentum.value_or(0.9));
}

}  // namespace thinwire
