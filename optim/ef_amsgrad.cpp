// AMSGrad on gradients compressed with error feedback: the CD-Adam paper's "EF" baseline, and
// TopK-AMSGrad-EF ("Sparsified Distributed Adaptive Learning with Error Feedback"), whose servers
// send their mean in full.
//
//   input  as AMSGrad;  δ_i = δ = 0
//          worker i
//   1      g_i ← ∇f_i(x) + λ x
//   2      q_i ← C(g_i + δ_i),  send q_i
//   3      δ_i ← g_i + δ_i − q_i
//          server
//   4      p ← mean q_i + δ,  send g = S(p)      (single-way: send g = mean q_i)
//   5      δ ← p − g
//          every worker
//   6      x ← AMSGrad(x, g)
#include "optim/compressed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class EfAmsgrad : public CompressedOptimizer {
 public:
  EfAmsgrad(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator,
            const Usual& usual)
      : CompressedOptimizer(options, arena, communicator, usual),
        update_(MakeAmsgradUpdate(options)) {
    momentum_ = AddState("momentum");
    variance_ = AddState("variance");
    max_variance_ = AddState("max_variance");
    worker_error_ = AddWorkerState("worker_error");
    if (!single_way()) server_error_ = AddServerState("server_error");
    gradient_ = Scratch(arena.padded_size());
    mean_ = Scratch(single_way() ? own_shard().size() : 0);
  }

  static Usual UsualOfEf() { return {.compressor = "sign", .single_way = false}; }
  static Usual UsualOfTopK() { return {.compressor = "topk", .single_way = true}; }

 protected:
  void Send(double, ConstView gradient_scale) override {
    uplink().SendSum(Gradient(gradient_scale), worker_error_);  // 1 – 3
    if (single_way()) {
      downlink().SendMean(uplink(), mean_);  // 4
    } else {
      downlink().SendMeanError(uplink(), server_error_);  // 4, 5
    }
  }

  void Receive(double learning_rate) override {
    downlink().Receive(gradient_);  // 6
    UpdateWith(update_, learning_rate, gradient_, momentum_, variance_, max_variance_);
  }

 private:
  AdamUpdate update_;
  View momentum_, variance_, max_variance_;  // m, v, v̂
  View worker_error_{}, server_error_{};     // δ_i, δ
  View gradient_, mean_;                     // g, and the server's mean of its shard
};

}  // namespace

std::unique_ptr<Optimizer> MakeEfAmsgrad(const OptimizerOptions& options, ParameterArena& arena,
                                         Communicator& communicator) {
  return std::make_unique<EfAmsgrad>(options, arena, communicator, EfAmsgrad::UsualOfEf());
}

std::unique_ptr<Optimizer> MakeTopKAmsgrad(const OptimizerOptions& options, ParameterArena& arena,
                                           Communicator& communicator) {
  return std::make_unique<EfAmsgrad>(options, arena, communicator, EfAmsgrad::UsualOfTopK());
}

}  // namespace thinwire
