// Adam (Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1) and AdamW
// (Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Algorithm 2).
//
//   input  learning rate α, β1, β2, ε, weight decay λ;  m = v = 0;  t = 1, 2, …
//   1      g ← ∇f(x) + λ x           adam
//          x ← x − α λ x             adamw (g ← ∇f(x))
//   2      m ← β1 m + (1 − β1) g
//   3      v ← β2 v + (1 − β2) g²
//   4      m̂ ← m / (1 − β1^t),  v̂ ← v / (1 − β2^t)
//   5      x ← x − α m̂ / (√v̂ + ε)
#include "optim/arena_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Adam : public ArenaOptimizer {
 public:
  Adam(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator,
       WeightDecayForm usual_decay)
      : ArenaOptimizer(options, arena, communicator, usual_decay) {
    update_.form = AdamUpdate::Form::kUsual;
    update_.beta1 = options.beta1;
    update_.beta2 = options.beta2.value_or(0.999);
    update_.epsilon = options.epsilon;
    momentum_ = AddState("momentum");
    variance_ = AddState("variance");
  }

  bool can_start_early() const override { return communication_overlaps(); }

  void Step(double learning_rate, ConstView gradient_scale) override {
    CountStep();
    const MeanGradient mean = AverageGradients(gradient_scale);
    PhaseTimer timer(costs_.update);
    update_.step = step_;
    for (const ParameterGroup& group : groups()) {
      update_.common = Common(group, learning_rate, mean.scale);
      device().Update(update_, group.Of(mean.values), group.Of(momentum_), group.Of(variance_),
                      View{}, group.Of(values()));
    }
  }

 private:
  AdamUpdate update_;
  View momentum_, variance_;  // m, v
};

}  // namespace

std::unique_ptr<Optimizer> MakeAdam(const OptimizerOptions& options, ParameterArena& arena,
                                    Communicator& communicator) {
  return std::make_unique<Adam>(options, arena, communicator, WeightDecayForm::kCoupled);
}

std::unique_ptr<Optimizer> MakeAdamW(const OptimizerOptions& options, ParameterArena& arena,
                                     Communicator& communicator) {
  return std::make_unique<Adam>(options, arena, communicator, WeightDecayForm::kDecoupled);
}

}  // namespace thinwire
