// Stochastic gradient descent, plain, with heavy-ball momentum (Polyak 1964) and with Nesterov's
// (Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013),
// in PyTorch's form: the learning rate multiplies the buffer and is not inside it.
//
//   input  learning rate α, momentum μ, weight decay λ;  b = 0
//   1      g ← ∇f(x) + λ x
//   2      b ← μ b + g
//   3      x ← x − α b             momentum
//          x ← x − α (g + μ b)     nesterov
//
// Plain SGD has no b: x ← x − α g.
#include "optim/arena_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Sgd : public ArenaOptimizer {
 public:
  Sgd(const OptimizerOptions& options, double momentum, bool nesterov, ParameterArena& arena,
      Communicator& communicator)
      : ArenaOptimizer(options, arena, communicator), momentum_(momentum), nesterov_(nesterov) {
    if (momentum_ != 0) buffer_ = AddState("momentum");
  }

  bool can_start_early() const override { return communication_overlaps(); }

  void Step(double learning_rate, ConstView gradient_scale) override {
    CountStep();
    const MeanGradient mean = AverageGradients(gradient_scale);
    PhaseTimer timer(costs_.update);
    MomentumUpdate update;
    update.momentum = momentum_;
    update.nesterov = nesterov_;
    for (const ParameterGroup& group : groups()) {
      update.common = Common(group, learning_rate, mean.scale);
      device().Update(update, group.Of(mean.values), group.Of(buffer_), group.Of(values()));
    }
  }

 private:
  double momentum_;
  bool nesterov_;
  View buffer_;  // b
};

}  // namespace

std::unique_ptr<Optimizer> MakeSgd(const OptimizerOptions& options, ParameterArena& arena,
                                   Communicator& communicator) {
  return std::make_unique<Sgd>(options, 0, false, arena, communicator);
}

std::unique_ptr<Optimizer> MakeMomentum(const OptimizerOptions& options, ParameterArena& arena,
                                        Communicator& communicator) {
  return std::make_unique<Sgd>(options, options.momentum.value_or(0.9), false, arena, communicator);
}

std::unique_ptr<Optimizer> MakeNesterov(const OptimizerOptions& options, ParameterArena& arena,
                                        Communicator& communicator) {
  return std::make_unique<Sgd>(options, options.momentum.value_or(0.9), true, arena, communicator);
}

}  // namespace thinwire
