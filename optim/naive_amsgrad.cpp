// AMSGrad on gradients that are compressed and nothing else, the CD-Adam paper's "naive" baseline.
//
//   1      g_i ← ∇f_i(x) + λ x,  send C(g_i)      worker i
//   2      send g = S(mean C(g_i))                server
//   3      x ← AMSGrad(x, g)                      every worker
#include "optim/compressed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class NaiveAmsgrad : public CompressedOptimizer {
 public:
  NaiveAmsgrad(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : CompressedOptimizer(options, arena, communicator, {.compressor = "sign"}),
        update_(MakeAmsgradUpdate(options)) {
    momentum_ = AddState("momentum");
    variance_ = AddState("variance");
    max_variance_ = AddState("max_variance");
    gradient_ = Scratch(arena.padded_size());
    mean_ = Scratch(own_shard().size());
  }

 protected:
  void Send(double, ConstView gradient_scale) override {
    uplink().Send(Gradient(gradient_scale));  // 1
    downlink().SendMean(uplink(), mean_);     // 2
  }

  void Receive(double learning_rate) override {
    downlink().Receive(gradient_);  // 3
    UpdateWith(update_, learning_rate, gradient_, momentum_, variance_, max_variance_);
  }

 private:
  AdamUpdate update_;
  View momentum_, variance_, max_variance_;  // m, v, v̂
  View gradient_, mean_;                     // g, and the server's mean of its shard
};

}  // namespace

std::unique_ptr<Optimizer> MakeNaiveAmsgrad(const OptimizerOptions& options, ParameterArena& arena,
                                            Communicator& communicator) {
  return std::make_unique<NaiveAmsgrad>(options, arena, communicator);
}

}  // namespace thinwire
