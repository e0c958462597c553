// EF21 (Richtárik, Sokolov, Fatkhullin, "EF21: A New, Simpler, Theoretically Better, and
// Practically Faster Error Feedback", NeurIPS 2021, Algorithm 2), and its form that compresses both
// ways, as the CD-Adam paper extends it for comparison.
//
//   input  learning rate γ;  g_i = ĝ = g̃ = 0;  t = 0, 1, …
//          worker i
//   1      g_i ← g_i + C(∇f_i(x) + λ x − g_i),  send the message
//          server
//   2      ĝ ← ĝ + mean of the messages          (= mean g_i)
//   3      ef21: send g̃ = ĝ in full.  ef21-bc: send S(ĝ − g̃)
//          every worker
//   4      ef21-bc: g̃ ← g̃ + S(ĝ − g̃)
//   5      x ← x − γ g̃                           (with momentum μ: b ← μ b + g̃, x ← x − γ b)
//
// The first message is compressed like all others, C(g_i) = C(g_i − 0), unless it is asked for in
// full.
#include "optim/markov_gradient.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

class Ef21 : public MarkovOptimizer {
 public:
  Ef21(const OptimizerOptions& options, ParameterArena& arena, Communicator& communicator,
       bool single_way)
      : MarkovOptimizer(options, arena, communicator,
                        {.compressor = "topk", .single_way = single_way}, "compressed") {}

 protected:
  void Send(double, ConstView gradient_scale) override {
    Follow(Gradient(gradient_scale));  // 1
    Reply();                           // 2, 3
  }

  void Receive(double learning_rate) override { Descend(learning_rate); }  // 4, 5
};

}  // namespace

std::unique_ptr<Optimizer> MakeEf21(const OptimizerOptions& options, ParameterArena& arena,
                                    Communicator& communicator) {
  return std::make_unique<Ef21>(options, arena, communicator, true);
}

std::unique_ptr<Optimizer> MakeEf21Bc(const OptimizerOptions& options, ParameterArena& arena,
                                      Communicator& communicator) {
  return std::make_unique<Ef21>(options, arena, communicator, false);
}

}  // namespace thinwire
