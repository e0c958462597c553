// EF14-SGD, error feedback as it was first (Seide et al., "1-Bit Stochastic Gradient Descent and
// its Application to Data-Parallel Distributed Training of Speech DNNs", Interspeech 2014; Stich,
// Cordonnier, Jaggi, "Sparsified SGD with Memory", NeurIPS 2018).
//
//   input  learning rate γ;  e_i = 0
//          worker i
//   1      p_i ← e_i + γ (∇f_i(x) + λ x)
//   2      q_i ← C(p_i),  send q_i
//   3      e_i ← p_i − q_i
//          server: send mean q_i in full;  every worker
//   4      x ← x − mean q_i
#include "optim/compressed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Ef14 : public CompressedOptimizer {
 public:
  Ef14(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : CompressedOptimizer(options, arena, communicator,
                            {.compressor = "topk", .single_way = true}) {
    worker_error_ = AddWorkerState("worker_error");
    mean_ = Scratch(own_shard().size());
  }

 protected:
  void Send(double learning_rate, ConstView gradient_scale) override {
    CompressionInput gradient = Gradient(gradient_scale);
    gradient.factor = learning_rate;
    uplink().SendSum(gradient, worker_error_);  // 1 – 3
    downlink().SendMean(uplink(), mean_);
  }

  void Receive(double) override {
    downlink().ReceiveAdd(-1, values());  // 4
    arena_.RoundValues();
  }

 private:
  View worker_error_, mean_;  // e_i, and the server's mean of its shard
};

}  // namespace

std::unique_ptr<Optimizer> MakeEf14(const OptimizerOptions& options, ParameterArena& arena,
                                    Communicator& communicator) {
  return std::make_unique<Ef14>(options, arena, communicator);
}

}  // namespace thinwire
