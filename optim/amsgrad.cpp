// AMSGrad (Reddi, Kale, Kumar, "On the Convergence of Adam and Beyond", ICLR 2018), in the form of
// the CD-Adam paper (Wang, Lin, Chen, "Communication-Compressed Adaptive Gradient Method for
// Distributed Nonconvex Optimization", AISTATS 2022, Algorithm 1):
//
//   input  learning rate α, β1, β2, ν, weight decay λ;  m = v = v̂ = 0;  t = 1, 2, …
//   1      g ← ∇f(x) + λ x
//   2      m ← β1 m + (1 − β1) g
//   3      v ← β2 v + (1 − β2) g²
//   4      v̂ ← max(v̂, v)
//   5      x ← x − α m / √(v̂ + ν)                               paper
//          x ← x − α m / (1 − β1^t) / (√(v̂ / (1 − β2^t)) + ε)    corrected
//
// The corrected form is PyTorch's `Adam(amsgrad=True)`.
#include "optim/arena_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Amsgrad : public ArenaOptimizer {
 public:
  Amsgrad(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator)
      : ArenaOptimizer(options, arena, communicator) {
    const bool paper = options.amsgrad_form == "paper";
    update_.form = paper ? AdamUpdate::Form::kPaper : AdamUpdate::Form::kUsual;
    update_.beta1 = options.beta1;
    update_.beta2 = options.beta2.value_or(paper ? 0.99 : 0.999);
    update_.epsilon = options.epsilon;
    momentum_ = AddState("momentum");
    variance_ = AddState("variance");
    max_variance_ = AddState("max_variance");
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
                      group.Of(max_variance_), group.Of(values()));
    }
  }

 private:
  AdamUpdate update_;
  View momentum_, variance_, max_variance_;  // m, v, v̂
};

}  // namespace

std::unique_ptr<Optimizer> MakeAmsgrad(const OptimizerOptions& options, ParameterArena& arena,
                                       Communicator& communicator) {
  return std::make_unique<Amsgrad>(options, arena, communicator);
}

}  // namespace thinwire
