// The measurements behind thinwire bench.
#pragma once

#include <string>

#include "layers/network.h"
#include "optim/optimizer.h"
#include "train/bench_command.h"
#include "train/ranks.h"
#include "train/timing.h"

namespace thinwire {

/// What was measured, for people and for programs.
struct BenchReport {
  std::string text;  // lines
  std::string json;  // one object
};

/// How long a line takes.
TimingOptions TimingOf(const BenchOptions& options);

/// The kernels of a device against its own copy of memory, or its fastest matrix product.
BenchReport BenchKernels(Device& device, const BenchOptions& options);

/// A training step of --model with --opt. All ranks call it; rank 0's times are reported.
BenchReport BenchStep(Rank& rank, const Settings& settings, const BenchOptions& options);

/// Collectives over sizes. All ranks call it; the slowest rank's times count.
/// @throws Error (usage) on one rank alone.
BenchReport BenchCollectives(Rank& rank, const BenchOptions& options);

/// A model that trains on one batch of random images, again and again.
class SyntheticTraining {
 public:
  SyntheticTraining(const LayerGraph& graph, const OptimizerOptions& options, int64_t batch_size,
                    Device& device, Communicator& communicator,
                    DataType activations = DataType::kFloat32);

  /// Enqueues the gradient, and then the update.
  void TakeGradient();
  void Update();

  const ParameterArena& arena() const { return arena_; }
  Network& network() { return network_; }
  const StepCosts& costs() const { return optimizer_->costs(); }

 private:
  int64_t batch_size_;
  ParameterArena arena_;
  std::unique_ptr<Optimizer> optimizer_;
  Network network_;
  uint64_t step_ = 0;
};

}  // namespace thinwire
