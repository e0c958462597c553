#include "layers/network.h"

#include <fmt/core.h>

#include <cassert>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "kernels/trace_range.h"
#include "layers/execution_plan.h"
#include "layers/gradient_buckets.h"

namespace thinwire {
namespace {

/// A step with its memory.
struct BoundStep {
  ExecutionStep::Kind kind;
  size_t layer;
  ForwardOperands forward;    // kForward; kLoss: inputs[0], output
  BackwardOperands backward;  // kBackward; kSum: the output gradients and input_gradients[0]
};

LayerPhase PhaseOf(ExecutionStep::Kind kind) {
  switch (kind) {
    case ExecutionStep::Kind::kForward:
      return LayerPhase::kForward;
    case ExecutionStep::Kind::kLoss:
      return LayerPhase::kLoss;
    case ExecutionStep::Kind::kBackward:
    case ExecutionStep::Kind::kSum:
      break;
  }
  return LayerPhase::kBackward;
}

}  // namespace

struct Network::Plan {
  Plan(const LayerGraph& graph, ParameterArena& arena, const NetworkOptions& network_options)
      : device(arena.device()), arena(arena), options(network_options) {
    const ExecutionPlan execution = MakeExecutionPlan(graph, {.batch = options.batch_size,
                                                              .training = options.training,
                                                              .reuse_memory = options.reuse_memory,
                                                              .activations = options.activations});
    bytes = execution.bytes;
    bytes_without_reuse = execution.bytes_without_reuse;
    {
      const MemoryScope scope(device, MemoryUse::kActivations);
      memory = device.Allocate(execution.bytes);
    }
    PlanningContext context{arena, options.batch_size, options.seed};
    context.activations = options.activations;
    const std::vector<GradientUse> gradients = GradientsOfLayers(graph, execution);
    for (size_t i = 0; i < gradients.size(); ++i) {
      const Layer& layer = *graph.layers()[i];
      context.gradients = gradients[i];
      names.push_back(layer.name());
      tensors.push_back(TensorsOf(layer));
      layers.push_back(layer.Plan(context));
    }
    loss = device.MakeLoss({.batch = options.batch_size,
                            .classes = graph.classes(),
                            .label_smoothing = options.label_smoothing,
                            .type = options.activations,
                            .results = options.kept_losses});
    images = Bind(execution, execution.images);
    labels = Bind(execution, execution.labels, DataType::kInt32);
    logits = Bind(execution, execution.logits);
    for (const ExecutionStep& step : execution.steps) steps.push_back(Bind(execution, step));
  }

  /// Where a layer's trainable tensors lie in the arena.
  std::vector<Range> TensorsOf(const Layer& layer) const {
    std::vector<Range> ranges;
    for (const LayerTensor& tensor : layer.tensors()) {
      if (!tensor.spec.trainable()) continue;
      const Segment& segment = arena.segment(tensor.spec.name);
      ranges.push_back({segment.offset, segment.offset + segment.size});
    }
    return ranges;
  }

  View Bind(const ExecutionPlan& execution, TensorId id) const {
    return Bind(execution, id, options.activations);
  }
  View Bind(const ExecutionPlan& execution, TensorId id, DataType type) const {
    if (id == kAbsent) return {};
    const PlannedTensor& tensor = execution.tensors[static_cast<size_t>(id)];
    return {static_cast<std::byte*>(memory.data()) + tensor.offset, tensor.bytes / SizeOf(type),
            type};
  }

  BoundStep Bind(const ExecutionPlan& execution, const ExecutionStep& step) const {
    auto bind = [&](TensorId id) { return Bind(execution, id); };
    BoundStep bound{.kind = step.kind, .layer = step.layer, .forward = {}, .backward = {}};
    const View saved = Bind(execution, step.saved, DataType::kUint8);
    bound.forward = {.inputs = {bind(step.inputs[0]), bind(step.inputs[1])},
                     .output = bind(step.output),
                     .saved = saved};
    bound.backward = {
        .input = bind(step.inputs[0]),
        .output = bind(step.forward_output),
        .saved = saved,
        .output_gradient = bind(step.output_gradients[0]),
        .output_gradient2 = bind(step.output_gradients[1]),
        .input_gradient_addend = bind(step.addend),
        .input_gradients = {bind(step.input_gradients[0]), bind(step.input_gradients[1])}};
    if (step.kind == ExecutionStep::Kind::kSum) {
      bound.backward.input_gradients[0] = bind(step.output);
    }
    return bound;
  }

  void Run(const BoundStep& step, const Pass& pass, float gradient_scale) {
    if (callback) callback(names[step.layer], PhaseOf(step.kind));
    PlannedLayer& layer = *layers[step.layer];
    switch (step.kind) {
      case ExecutionStep::Kind::kForward: {
        const TraceRange range(TraceCategory::kLayer, names[step.layer].c_str());
        layer.Forward(step.forward, pass);
        break;
      }
      case ExecutionStep::Kind::kBackward: {
        const TraceRange range(TraceCategory::kLayer, names[step.layer].c_str());
        layer.Backward(step.backward, pass);
        break;
      }
      case ExecutionStep::Kind::kLoss:
        loss->Run(logits, labels, own_label, gradient_scale,
                  pass.training ? step.forward.output : View{});
        break;
      case ExecutionStep::Kind::kSum:
        device.Add(step.backward.output_gradient, step.backward.output_gradient2, /*relu=*/false,
                   step.backward.input_gradients[0]);
        break;
    }
  }

  /// The forward steps up to the loss, or those behind it.
  void RunPhase(LayerPhase phase, const Pass& pass, float gradient_scale) {
    const bool backward = phase == LayerPhase::kBackward;
    const TraceRange range(TraceCategory::kPhase, backward ? "backward" : "forward");
    auto bucket = buckets.begin();
    for (size_t i = 0; i < steps.size(); ++i) {
      if ((PhaseOf(steps[i].kind) == LayerPhase::kBackward) != backward) continue;
      Run(steps[i], pass, gradient_scale);
      for (; backward && bucket != buckets.end() && bucket->step <= i; ++bucket) {
        gradient_callback(bucket->range);
      }
    }
  }

  void SetGradientCallback(const std::vector<Range>& ranges, GradientCallback new_callback) {
    gradient_callback = std::move(new_callback);
    buckets.clear();
    if (!gradient_callback) return;
    std::vector<std::vector<Range>> written;
    for (const BoundStep& step : steps) {
      const bool writes = step.kind == ExecutionStep::Kind::kBackward;
      written.push_back(writes ? tensors[step.layer] : std::vector<Range>());
    }
    buckets = MakeGradientBuckets(ranges, written);
  }

  Device& device;
  ParameterArena& arena;
  NetworkOptions options;
  Buffer memory;
  int64_t bytes = 0, bytes_without_reuse = 0;
  std::vector<std::string> names;           // of each layer
  std::vector<std::vector<Range>> tensors;  // of each layer
  std::vector<std::unique_ptr<PlannedLayer>> layers;
  std::unique_ptr<Loss> loss;
  View images, labels, logits;
  float own_label = 1;
  std::vector<BoundStep> steps;
  LayerCallback callback;
  GradientCallback gradient_callback;
  std::vector<GradientBucket> buckets;
};

Network::Network(const LayerGraph& graph, ParameterArena& arena, const NetworkOptions& options)
    : plan_(std::make_unique<Plan>(graph, arena, options)) {}

Network::~Network() = default;

View Network::images() { return plan_->images; }
View Network::labels() { return plan_->labels; }
ConstView Network::logits() { return plan_->logits; }
LossResult Network::ReadLoss() { return plan_->loss->ReadResult(); }
std::vector<LossResult> Network::ReadLosses(int64_t count) {
  return plan_->loss->ReadResults(count);
}
int64_t Network::activation_bytes() const { return plan_->bytes; }
int64_t Network::activation_bytes_without_reuse() const { return plan_->bytes_without_reuse; }

void Network::set_own_label(float share) { plan_->own_label = share; }

void Network::set_layer_callback(LayerCallback callback) { plan_->callback = std::move(callback); }

void Network::set_gradient_callback(const std::vector<Range>& ranges, GradientCallback callback) {
  plan_->SetGradientCallback(ranges, std::move(callback));
}

void Network::ForwardBackward(float gradient_scale, uint64_t step) {
  assert(plan_->options.training);
  const Pass pass{.training = true, .step = step};
  plan_->RunPhase(LayerPhase::kForward, pass, gradient_scale);
  plan_->RunPhase(LayerPhase::kBackward, pass, gradient_scale);
}

void Network::Infer() {
  plan_->RunPhase(LayerPhase::kForward, {.training = false, .step = 0}, 0.0f);
}

std::optional<std::string> Network::FirstNonFiniteLayer(uint64_t step) {
  const View state = plan_->arena.state();
  const Buffer backup = plan_->device.Allocate(state.size * SizeOf(state.type));
  plan_->device.Copy(state, backup.view());
  const Pass pass{.training = plan_->options.training, .step = step};
  std::optional<std::string> found;
  for (const BoundStep& bound : plan_->steps) {
    if (bound.kind != ExecutionStep::Kind::kForward) break;
    plan_->Run(bound, pass, 0.0f);
    if (plan_->device.FirstNonFinite(bound.forward.output) >= 0) {
      found = plan_->names[bound.layer];
      break;
    }
  }
  plan_->device.Copy(backup.view(), state);
  plan_->device.Synchronize();  // before the copy is freed
  return found;
}

}  // namespace thinwire
