// A layer graph made ready to run on one device at one batch size.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/parameter_arena.h"
#include "layers/layer_graph.h"

namespace thinwire {

struct NetworkOptions {
  int64_t batch_size = 1;
  /// Plans the backward pass and keeps what it needs. An inference network uses less memory.
  bool training = true;
  float label_smoothing = 0.0f;
  int64_t kept_losses = 1;   // of the last passes
  uint64_t seed = 0;         // of dropout
  bool reuse_memory = true;  // false: every activation has memory of its own, for tests
  /// Of all activations and their gradients; kBFloat16 takes an arena with a copy in it.
  DataType activations = DataType::kFloat32;
};

/// What a network is about to enqueue for a layer.
enum class LayerPhase : uint8_t { kForward, kLoss, kBackward };

/// Operations, activation memory and parameters of a LayerGraph. Everything is planned and
/// allocated by the constructor; nothing allocates afterwards. Several networks (training and
/// evaluation, different batch sizes) can share one arena, which must outlive them.
class Network {
 public:
  /// @throws Error if the graph does not end in logits [batch, classes].
  Network(const LayerGraph& graph, ParameterArena& arena, const NetworkOptions& options);
  ~Network();

  /// Where a batch is put: images, NHWC [batch, height, width, channels] in the activations' type,
  /// and labels, int32 [batch]; a negative label marks a row that does not count.
  View images();
  View labels();

  /// The share of a row's own label in the loss of all passes to come; the rest is of its
  /// partner's, as Loss::Run has it.
  void set_own_label(float share);

  /// Forward with batch statistics, loss, and backward: fills the arena's gradients with the
  /// gradient of `sum of row losses * gradient_scale` (usually 1 / batch). `step` seeds dropout.
  /// @pre options.training
  void ForwardBackward(float gradient_scale, uint64_t step);
  /// Forward with running statistics, and the loss. A training network can do it too.
  void Infer();
  /// Waits for the queue; the result of the last of the two above.
  LossResult ReadLoss();
  /// The same of the last `count` of them, in their order. @pre count <= options.kept_losses
  std::vector<LossResult> ReadLosses(int64_t count);
  /// [batch, classes] of the last pass, in the activations' type. Valid until the next one.
  ConstView logits();

  /// Peak bytes of the activation memory that was planned from lifetimes, and what the same
  /// tensors would take without reuse.
  int64_t activation_bytes() const;
  int64_t activation_bytes_without_reuse() const;

  /// Runs the forward pass on the current batch layer by layer; the name of the first layer whose
  /// output holds a NaN or Inf, or nothing. Leaves running statistics as they were.
  std::optional<std::string> FirstNonFiniteLayer(uint64_t step);

  /// Called before each step of a pass with the layer's name, for profilers; may be empty.
  using LayerCallback = std::function<void(const std::string& layer, LayerPhase phase)>;
  void set_layer_callback(LayerCallback callback);

  /// Called during ForwardBackward with each of these ranges of the arena's gradients, as soon as
  /// all work has been enqueued that writes it: in each pass in the same order. May be empty.
  using GradientCallback = std::function<void(const Range& range)>;
  void set_gradient_callback(const std::vector<Range>& ranges, GradientCallback callback);

 private:
  struct Plan;
  std::unique_ptr<Plan> plan_;
};

}  // namespace thinwire
