// signSGD with majority vote (Bernstein et al., "signSGD with Majority Vote is Communication
// Efficient and Fault Tolerant", ICLR 2019, Algorithm 1).
//
//   input  learning rate α, momentum μ;  m_i = 0
//   1      m_i ← μ m_i + (1 − μ) (∇f_i(x) + λ x)       worker i; send sign(m_i)
//   2      send s = sign(Σ sign(m_i))                  server
//   3      x ← x − α s                                 every worker
//
// sign(0) = +1, in a vote without majority too: one bit cannot say zero.
#include "optim/compressed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class SignVote : public CompressedOptimizer {
 public:
  SignVote(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : CompressedOptimizer(options, arena, communicator, {.compressor = "vote"}),
        momentum_(options.momentum.value_or(0)) {
    if (momentum_ != 0) worker_momentum_ = AddWorkerState("worker_momentum");
    mean_ = Scratch(own_shard().size());
  }

 protected:
  void Send(double, ConstView gradient_scale) override {
    CompressionInput v = Gradient(gradient_scale);
    if (worker_momentum_) {
      PhaseTimer timer(costs_.compress);
      v.factor = 1 - momentum_;
      device().Evaluate(v, momentum_, worker_momentum_);
      v = Times(1, worker_momentum_);
    }
    uplink().Send(v);                      // 1
    downlink().SendMean(uplink(), mean_);  // 2
  }

  void Receive(double learning_rate) override {
    downlink().ReceiveAdd(-learning_rate, values());  // 3
    arena_.RoundValues();
  }

 private:
  double momentum_;
  View worker_momentum_{}, mean_;  // m_i, and the server's mean of its shard
};

}  // namespace

std::unique_ptr<Optimizer> MakeSignVote(const OptimizerOptions& options, ParameterArena& arena,
                                        Communicator& communicator) {
  return std::make_unique<SignVote>(options, arena, communicator);
}

}  // namespace thinwire
