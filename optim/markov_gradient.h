// The Markov sequence of EF21 and its kin: each worker's estimate g_i follows a vector v_i by
// compressed differences, and everyone follows the mean of the estimates.
#pragma once

#include <memory>

#include "optim/compressed_optimizer.h"

namespace thinwire {

class MarkovOptimizer : public CompressedOptimizer {
 protected:
  /// @param first_message what "auto" means for the first one: compressed, full or zero.
  MarkovOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                  Communicator& communicator, const Usual& usual, const std::string& first_message);

  /// Worker: g_i ← g_i + C(v − g_i); the first message may be v in full.
  void Follow(const CompressionInput& v);
  /// Server: ĝ ← ĝ + mean C(v_i − g_i), and sends it in full, or S(ĝ − g̃).
  void Reply();
  /// Every worker: g̃ ← what was sent, or g̃ ← g̃ + S(ĝ − g̃); then x ← x − γ b with b ← μ b + g̃ (no
  /// b if μ = 0).
  void Descend(double learning_rate);

 private:
  /// What the step's message went by.
  Uplink& link() { return full_uplink_ && step_ == 1 ? *full_uplink_ : uplink(); }

  MomentumUpdate update_;
  std::unique_ptr<Uplink> full_uplink_;                       // of the first message, if in full
  View worker_estimate_, server_estimate_, common_estimate_;  // g_i, ĝ, g̃
  View buffer_{};                                             // b
};

}  // namespace thinwire
