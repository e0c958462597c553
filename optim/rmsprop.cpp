// RMSProp (Hinton, "Neural Networks for Machine Learning", lecture 6e, 2012) in PyTorch's form,
// with ε outside the root and optional momentum; rmspropw decouples the weight decay as AdamW does.
//
//   input  learning rate γ, decay α, ε, momentum μ, weight decay λ;  v = b = 0
//   1      g ← ∇f(x) + λ x           rmsprop
//          x ← x − γ λ x             rmspropw (g ← ∇f(x))
//   2      v ← α v + (1 − α) g²
//   3      s ← g / (√v + ε)
//   4      x ← x − γ s               without momentum
//          b ← μ b + s,  x ← x − γ b
#include "optim/arena_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Rmsprop : public ArenaOptimizer {
 public:
  Rmsprop(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator,
          WeightDecayForm usual_decay)
      : ArenaOptimizer(options, arena, communicator, usual_decay) {
    update_.alpha = options.alpha;
    update_.epsilon = options.epsilon;
    update_.momentum = options.momentum.value_or(0);
    variance_ = AddState("variance");
    if (update_.momentum != 0) buffer_ = AddState("momentum");
  }

  bool can_start_early() const override { return communication_overlaps(); }

  void Step(double learning_rate, ConstView gradient_scale) override {
    CountStep();
    const MeanGradient mean = AverageGradients(gradient_scale);
    PhaseTimer timer(costs_.update);
    for (const ParameterGroup& group : groups()) {
      update_.common = Common(group, learning_rate, mean.scale);
      device().Update(update_, group.Of(mean.values), group.Of(variance_), group.Of(buffer_),
                      group.Of(values()));
    }
  }

 private:
  RmspropUpdate update_;
  View variance_, buffer_;  // v, b
};

}  // namespace

std::unique_ptr<Optimizer> MakeRmsprop(const OptimizerOptions& options, ParameterArena& arena,
                                       Communicator& communicator) {
  return std::make_unique<Rmsprop>(options, arena, communicator, WeightDecayForm::kCoupled);
}

std::unique_ptr<Optimizer> MakeRmspropW(const OptimizerOptions& options, ParameterArena& arena,
                                        Communicator& communicator) {
  return std::make_unique<Rmsprop>(options, arena, communicator, WeightDecayForm::kDecoupled);
}

}  // namespace thinwire
