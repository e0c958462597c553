// The order of a network's steps, what each reads and writes, and where that lies in memory.
// Needs no device, so that memory can be reported before anything is allocated.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "layers/layer_graph.h"

namespace thinwire {

/// Index of a tensor of a plan: written by one step (or before the first), read by later ones.
using TensorId = int;
inline constexpr TensorId kAbsent = -1;

struct PlannedTensor {
  int64_t bytes = 0;
  int first = 0, last = 0;  // steps that touch it
  int64_t offset = 0;       // in the activation memory
};

struct ExecutionStep {
  enum class Kind : uint8_t {
    kForward,   // inputs -> output, saved
    kLoss,      // inputs[0], the logits -> output, their gradient
    kBackward,  // inputs[0], forward_output, saved, output_gradients, addend -> input_gradients
    kSum,       // output_gradients[0] + output_gradients[1] -> output
  };
  Kind kind = Kind::kForward;
  size_t layer = 0;  // kSum: any consumer of the value whose gradients are summed
  std::array<TensorId, 2> inputs = {kAbsent, kAbsent};
  TensorId output = kAbsent;
  TensorId forward_output = kAbsent;
  TensorId saved = kAbsent;
  std::array<TensorId, 2> output_gradients = {kAbsent, kAbsent};
  TensorId addend = kAbsent;
  std::array<TensorId, 2> input_gradients = {kAbsent, kAbsent};
};

struct ExecutionOptions {
  int64_t batch = 1;
  bool training = true;
  bool reuse_memory = true;  // false: every tensor has memory of its own, for tests
  DataType activations = DataType::kFloat32;  // of all values and their gradients, or kBFloat16
};

/// A training plan runs all layers forward, the loss, and all layers backward; an inference plan
/// stops after the loss. No gradient is computed for what depends on no parameter. Images, labels
/// and logits keep their memory to the end.
struct ExecutionPlan {
  std::vector<ExecutionStep> steps;
  std::vector<PlannedTensor> tensors;
  TensorId images = kAbsent, labels = kAbsent, logits = kAbsent;
  int64_t bytes = 0;                // of the activation memory
  int64_t bytes_without_reuse = 0;  // if every tensor had its own
};

/// @throws Error if the graph is not complete (see LayerGraph::CheckComplete), or has nothing to
///     train.
ExecutionPlan MakeExecutionPlan(const LayerGraph& graph, const ExecutionOptions& options);

/// What the plan's backward steps ask of each of the graph's layers.
std::vector<GradientUse> GradientsOfLayers(const LayerGraph& graph, const ExecutionPlan& plan);

}  // namespace thinwire
