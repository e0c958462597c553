// signSGD and, with momentum, Signum (Bernstein et al., "signSGD: Compressed Optimisation for
// Non-Convex Problems", ICML 2018, Algorithms 1 and 2).
//
//   input  learning rate α, momentum μ, weight decay λ;  b = 0
//   1      g ← ∇f(x) + λ x
//   2      x ← x − α sign(g)                              without momentum
//          b ← μ b + (1 − μ) g,  x ← x − α sign(b)        Signum
//
// sign(0) = 0: nothing is sent here, so a parameter without a gradient can stay put.
#include "optim/arena_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class SignSgd : public ArenaOptimizer {
 public:
  SignSgd(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : ArenaOptimizer(options, arena, communicator) {
    update_.momentum = options.momentum.value_or(0);
    if (update_.momentum != 0) buffer_ = AddState("momentum");
  }

  bool can_start_early() const override { return communication_overlaps(); }

  void Step(double learning_rate, ConstView gradient_scale) override {
    CountStep();
    const MeanGradient mean = AverageGradients(gradient_scale);
    PhaseTimer timer(costs_.update);
    for (const ParameterGroup& group : groups()) {
      update_.common = Common(group, learning_rate, mean.scale);
      device().Update(update_, group.Of(mean.values), group.Of(buffer_), group.Of(values()));
    }
  }

 private:
  SignSgdUpdate update_;
  View buffer_;  // b
};

}  // namespace

std::unique_ptr<Optimizer> MakeSignSgd(const OptimizerOptions& options, ParameterArena& arena,
                                       Communicator& communicator) {
  return std::make_unique<SignSgd>(options, arena, communicator);
}

}  // namespace thinwire
