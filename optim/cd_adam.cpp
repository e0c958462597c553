// CD-Adam (Wang, Lin, Chen, "Communication-Compressed Adaptive Gradient Method for Distributed
// Nonconvex Optimization", AISTATS 2022, Algorithm 1).
//
//   input  learning rate α, β1, β2, ν;  ĝ_i = ĝ = g̃ = m = v = v̂ = 0;  t = 1, 2, …
//          worker i
//   1      g_i ← ∇f_i(x) + λ x
//   2      c_i ← C(g_i − ĝ_i),  send c_i
//   3      ĝ_i ← ĝ_i + c_i
//          server
//   4      ĝ ← ĝ + mean c_i
//   5      c̃ ← S(ĝ − g̃),  send c̃
//          every worker, and the server for its copy
//   6      g̃ ← g̃ + c̃
//   7      x ← AMSGrad(x, g̃)         m, v, v̂ as in optim/amsgrad.cpp
//
// Line 5 takes the difference from g̃, the Markov sequence of the paper's text. ĝ = mean ĝ_i.
#include "optim/compressed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class CdAdam : public CompressedOptimizer {
 public:
  CdAdam(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : CompressedOptimizer(options, arena, communicator, {.compressor = "sign"}),
        update_(MakeAmsgradUpdate(options)) {
    momentum_ = AddState("momentum");
    variance_ = AddState("variance");
    max_variance_ = AddState("max_variance");
    common_estimate_ = AddState("common_estimate");
    worker_estimate_ = AddWorkerState("worker_estimate", CarryOver::kFromServer, "server_estimate");
    server_estimate_ = AddServerState("server_estimate");
  }

 protected:
  void Send(double, ConstView gradient_scale) override {
    uplink().SendDifference(Gradient(gradient_scale), worker_estimate_);                 // 1 – 3
    downlink().SendMeanDifference(uplink(), server_estimate_, Shard(common_estimate_));  // 4, 5
  }

  void Receive(double learning_rate) override {
    ReceiveAndUpdate(update_, learning_rate, common_estimate_, momentum_, variance_,
                     max_variance_);  // 6, 7
  }

 private:
  AdamUpdate update_;
  View momentum_, variance_, max_variance_;                   // m, v, v̂
  View worker_estimate_, server_estimate_, common_estimate_;  // ĝ_i, ĝ, g̃
};

}  // namespace

std::unique_ptr<Optimizer> MakeCdAdam(const OptimizerOptions& options, ParameterArena& arena,
                                      Communicator& communicator) {
  return std::make_unique<CdAdam>(options, arena, communicator);
}

}  // namespace thinwire
