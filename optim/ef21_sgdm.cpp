// EF21-SGDM and EF21-SGD2M (Fatkhullin, Tyurin, Richtárik, "Momentum Provably Improves Error
// Feedback!", NeurIPS 2023, Algorithm 1 and its double-momentum form).
//
//   input  learning rate γ, momentum η;  t = 0, 1, …
//          worker i
//   1      v_i ← (1 − η) v_i + η (∇f_i(x) + λ x)       (t = 0: v_i ← ∇f_i(x) + λ x)
//   2      sgd2m: u_i ← (1 − η) u_i + η v_i            (t = 0: u_i ← v_i)
//   3      g_i ← g_i + C(v_i − g_i)                    (sgd2m: C(u_i − g_i))
//          server and every worker
//   4      x ← x − γ mean g_i                          (both ways compressed: as ef21-bc)
//
// The first message is v_i in full, unless it is asked for otherwise. With η = 1 this is EF21.
#include "optim/markov_gradient.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Ef21Sgdm : public MarkovOptimizer {
 public:
  Ef21Sgdm(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator,
           bool twice)
      : MarkovOptimizer(options, arena, communicator, {.compressor = "topk", .single_way = true},
                        "full"),
        eta_(options.eta) {
    worker_momentum_ = AddWorkerState("worker_momentum");
    if (twice) second_momentum_ = AddWorkerState("second_worker_momentum");
  }

 protected:
  void Send(double, ConstView gradient_scale) override {
    Average(Gradient(gradient_scale), worker_momentum_);                          // 1
    if (second_momentum_) Average(Times(1, worker_momentum_), second_momentum_);  // 2
    Follow(Times(1, second_momentum_ ? second_momentum_ : worker_momentum_));     // 3
    Reply();
  }

  void Receive(double learning_rate) override { Descend(learning_rate); }  // 4

 private:
  void Average(CompressionInput input, View average) {
    PhaseTimer timer(costs_.compress);
    const bool first = step_ == 1;
    input.factor = first ? 1 : eta_;
    device().Evaluate(input, first ? 0 : 1 - eta_, average);
  }

  double eta_;
  View worker_momentum_, second_momentum_{};  // v_i, u_i
};

}  // namespace

std::unique_ptr<Optimizer> MakeEf21Sgdm(const OptimizerOptions& options, ParameterArena& arena,
                                        Communicator& communicator) {
  return std::make_unique<Ef21Sgdm>(options, arena, communicator, false);
}

std::unique_ptr<Optimizer> MakeEf21Sgd2m(const OptimizerOptions& options, ParameterArena& arena,
                                         Communicator& communicator) {
  return std::make_unique<Ef21Sgdm>(options, arena, communicator, true);
}

}  // namespace thinwire
