#include "layers/execution_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>

#include "kernels/error.h"
#include "layers/memory_planner.h"

namespace thinwire {
namespace {

using Kind = ExecutionStep::Kind;

std::vector<bool> ValuesWithGradient(const LayerGraph& graph) {
  std::vector<bool> result(graph.layers().size() + 1, false);
  for (size_t i = 0; i < graph.layers().size(); ++i) {
    const Layer& layer = *graph.layers()[i];
    result[i + 1] = !layer.tensors().empty();
    for (const int input : layer.inputs()) {
      if (result[static_cast<size_t>(input)]) result[i + 1] = true;
    }
  }
  return result;
}

/// Writes the steps, each tensor written once and nothing placed yet.
class StepWriter {
 public:
  StepWriter(const LayerGraph& graph, const ExecutionOptions& options)
      : graph_(graph), options_(options), value_tensors_(graph.layers().size() + 1) {}

  ExecutionPlan Write() && {
    plan_.images = NewTensor(ValueBytes(0));
    plan_.labels = NewTensor(options_.batch * SizeOf(DataType::kInt32));
    value_tensors_[0] = plan_.images;
    for (size_t i = 0; i < graph_.layers().size(); ++i) WriteForward(i);
    plan_.logits = value_tensors_.back();
    WriteLoss();
    return std::move(plan_);
  }

 private:
  const Layer& layer(size_t index) const { return *graph_.layers()[index]; }

  MemoryTraits traits(size_t index) const { return layer(index).memory_traits(options_.training); }

  int64_t ValueBytes(size_t value) const {
    return options_.batch * graph_.shape({static_cast<int>(value)}).size() *
           SizeOf(options_.activations);
  }

  TensorId NewTensor(int64_t bytes) {
    plan_.tensors.push_back({.bytes = bytes});
    return static_cast<TensorId>(plan_.tensors.size()) - 1;
  }

  void WriteForward(size_t index) {
    const std::vector<int>& inputs = layer(index).inputs();
    TensorId& output = value_tensors_[index + 1];
    if (traits(index).forward_passes_through) {
      output = value_tensors_[static_cast<size_t>(inputs[0])];
      saved_.push_back(kAbsent);
      return;
    }
    ExecutionStep step{.kind = Kind::kForward, .layer = index};
    for (size_t i = 0; i < inputs.size(); ++i) {
      step.inputs[i] = value_tensors_[static_cast<size_t>(inputs[i])];
    }
    step.output = output = NewTensor(ValueBytes(index + 1));
    const int64_t saved_bytes = layer(index).saved_bytes(options_.batch);
    if (options_.training && saved_bytes > 0) step.saved = NewTensor(saved_bytes);
    saved_.push_back(step.saved);
    plan_.steps.push_back(step);
  }

  void WriteLoss() {
    ExecutionStep step{.kind = Kind::kLoss, .layer = graph_.layers().size() - 1};
    step.inputs = {plan_.logits, plan_.labels};
    if (!options_.training) {
      plan_.steps.push_back(step);
      return;
    }
    has_gradient_ = ValuesWithGradient(graph_);
    if (!has_gradient_.back()) {
      throw Error(fmt::format("model {} has no parameters to train", graph_.name()),
                  "add a convolution or a linear layer");
    }
    gradients_.resize(value_tensors_.size());
    step.output = NewTensor(ValueBytes(value_tensors_.size() - 1));
    gradients_.back() = {step.output};
    plan_.steps.push_back(step);
    for (size_t i = graph_.layers().size(); i-- > 0;) {
      if (has_gradient_[i + 1]) WriteBackward(i);
    }
  }

  void WriteBackward(size_t index) {
    const std::vector<int>& inputs = layer(index).inputs();
    const MemoryTraits traits = this->traits(index);
    const std::vector<TensorId>& arrived = gradients_[index + 1];
    if (traits.backward_passes_through) {
      for (const int input : inputs) Contribute(index, input, arrived[0]);
      return;
    }
    ExecutionStep step{.kind = Kind::kBackward, .layer = index};
    std::copy(arrived.begin(), arrived.end(), step.output_gradients.begin());
    const auto first_input = static_cast<size_t>(inputs[0]);
    if (traits.backward_reads_input) step.inputs[0] = value_tensors_[first_input];
    if (traits.backward_reads_output) step.forward_output = value_tensors_[index + 1];
    step.saved = saved_[index];
    if (traits.adds_to_input_gradient && !gradients_[first_input].empty()) {
      step.addend = gradients_[first_input].back();
      gradients_[first_input].pop_back();
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto input = static_cast<size_t>(inputs[i]);
      const bool forced = i == 0 && traits.writes_input_gradient;
      if (has_gradient_[input] || forced) step.input_gradients[i] = NewTensor(ValueBytes(input));
    }
    plan_.steps.push_back(step);
    for (size_t i = 0; i < inputs.size(); ++i) {
      Contribute(index, inputs[i], step.input_gradients[i]);
    }
  }

  /// One more gradient of a value, summed with the earlier ones where the value's producer does
  /// not do that itself.
  void Contribute(size_t consumer, int value, TensorId gradient) {
    if (!has_gradient_[static_cast<size_t>(value)]) return;
    std::vector<TensorId>& gradients = gradients_[static_cast<size_t>(value)];
    gradients.push_back(gradient);
    const auto producer = static_cast<size_t>(value - 1);
    const size_t accepted = traits(producer).sums_output_gradients ? 2 : 1;
    if (gradients.size() <= accepted) return;
    ExecutionStep step{.kind = Kind::kSum, .layer = consumer};
    step.output_gradients = {gradients[gradients.size() - 2], gradients.back()};
    step.output = NewTensor(ValueBytes(static_cast<size_t>(value)));
    gradients.resize(gradients.size() - 2);
    gradients.push_back(step.output);
    plan_.steps.push_back(step);
  }

  const LayerGraph& graph_;
  const ExecutionOptions& options_;
  ExecutionPlan plan_;
  std::vector<TensorId> value_tensors_;           // of each value
  std::vector<TensorId> saved_;                   // of each layer
  std::vector<bool> has_gradient_;                // of each value
  std::vector<std::vector<TensorId>> gradients_;  // of each value: contributions so far
};

template <typename Function>
void ForEachTensor(const ExecutionStep& step, const Function& function) {
  for (const auto* ids : {&step.inputs, &step.output_gradients, &step.input_gradients}) {
    for (const TensorId id : *ids) {
      if (id != kAbsent) function(id);
    }
  }
  for (const TensorId id : {step.output, step.forward_output, step.saved, step.addend}) {
    if (id != kAbsent) function(id);
  }
}

void SetLifetimes(ExecutionPlan& plan) {
  const int end = static_cast<int>(plan.steps.size()) - 1;
  for (PlannedTensor& tensor : plan.tensors) {
    tensor.first = end;
    tensor.last = 0;
  }
  for (int step = 0; step <= end; ++step) {
    ForEachTensor(plan.steps[static_cast<size_t>(step)], [&](TensorId id) {
      PlannedTensor& tensor = plan.tensors[static_cast<size_t>(id)];
      tensor.first = std::min(tensor.first, step);
      tensor.last = std::max(tensor.last, step);
    });
  }
  for (const TensorId id : {plan.images, plan.labels}) {
    plan.tensors[static_cast<size_t>(id)].first = 0;
  }
  for (const TensorId id : {plan.images, plan.labels, plan.logits}) {
    plan.tensors[static_cast<size_t>(id)].last = end;
  }
}

/// Joins tensors that may share memory although both are alive in the step between them, and
/// gives every tensor its block.
class BlockJoiner {
 public:
  BlockJoiner(const LayerGraph& graph, const ExecutionPlan& plan, bool training)
      : plan_(plan), block_of_(plan.tensors.size()) {
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
      block_of_[i] = i;
      blocks_.push_back({plan.tensors[i].bytes, plan.tensors[i].first, plan.tensors[i].last});
    }
    for (size_t i = 0; i < plan.steps.size(); ++i) {
      const ExecutionStep& step = plan.steps[i];
      const MemoryTraits traits = graph.layers()[step.layer]->memory_traits(training);
      JoinStep(step, static_cast<int>(i), traits);
    }
  }

  size_t block_of(size_t tensor) const { return block_of_[tensor]; }
  /// Blocks that were joined to another one are empty.
  const std::vector<Lifetime>& blocks() const { return blocks_; }

 private:
  void JoinStep(const ExecutionStep& step, int now, const MemoryTraits& traits) {
    const auto& [gradient, gradient2] = step.output_gradients;
    switch (step.kind) {
      case Kind::kForward:
        if (traits.forward_in_place) Join(step.output, {step.inputs[0], step.inputs[1]}, now);
        break;
      case Kind::kLoss:
        break;
      case Kind::kSum:
        Join(step.output, {gradient, gradient2}, now);
        break;
      case Kind::kBackward: {
        if (!traits.backward_in_place) break;
        // The residual's gradient is written before the addend is read, so it must not hit it;
        // and the two outputs must not hit each other.
        const TensorId residual = step.input_gradients[1];
        auto unless_addend = [&](TensorId id) { return id == step.addend ? kAbsent : id; };
        const TensorId taken =
            Join(residual, {unless_addend(gradient2), unless_addend(gradient)}, now);
        auto unless_taken = [&](TensorId id) { return id == taken ? kAbsent : id; };
        Join(step.input_gradients[0],
             {unless_taken(gradient), unless_taken(gradient2), step.addend}, now);
        break;
      }
    }
  }

  /// Puts `output` into the memory of the first candidate that nobody reads after step `now`;
  /// returns that candidate.
  TensorId Join(TensorId output, std::initializer_list<TensorId> candidates, int now) {
    if (output == kAbsent) return kAbsent;
    for (const TensorId candidate : candidates) {
      if (candidate == kAbsent) continue;
      const PlannedTensor& from = plan_.tensors[static_cast<size_t>(candidate)];
      const PlannedTensor& to = plan_.tensors[static_cast<size_t>(output)];
      if (from.last != now || from.bytes != to.bytes) continue;
      const size_t block = block_of_[static_cast<size_t>(candidate)];
      block_of_[static_cast<size_t>(output)] = block;
      blocks_[block].last = to.last;
      blocks_[static_cast<size_t>(output)].bytes = 0;
      return candidate;
    }
    return kAbsent;
  }

  const ExecutionPlan& plan_;
  std::vector<size_t> block_of_;
  std::vector<Lifetime> blocks_;
};

}  // namespace

ExecutionPlan MakeExecutionPlan(const LayerGraph& graph, const ExecutionOptions& options) {
  graph.CheckComplete();
  if (options.batch < 1) {
    throw Error(fmt::format("model {}: cannot plan a batch of {}", graph.name(), options.batch),
                "give a batch size of at least 1", Error::Kind::kUsage);
  }
  ExecutionPlan plan = StepWriter(graph, options).Write();
  SetLifetimes(plan);
  for (const PlannedTensor& tensor : plan.tensors) {
    plan.bytes_without_reuse += AlignMemory(tensor.bytes);
  }
  if (!options.reuse_memory) {
    for (PlannedTensor& tensor : plan.tensors) {
      tensor.offset = plan.bytes;
      plan.bytes += AlignMemory(tensor.bytes);
    }
    return plan;
  }
  const BlockJoiner joiner(graph, plan, options.training);
  const MemoryPlan memory = PlanMemory(joiner.blocks());
  plan.bytes = memory.bytes;
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    plan.tensors[i].offset = memory.offsets[joiner.block_of(i)];
  }
  return plan;
}

std::vector<GradientUse> GradientsOfLayers(const LayerGraph& graph, const ExecutionPlan& plan) {
  std::vector<GradientUse> gradients(graph.layers().size(), {.data = false, .weights = false});
  for (const ExecutionStep& step : plan.steps) {
    if (step.kind != Kind::kBackward) continue;
    gradients[step.layer] = {.data = step.input_gradients[0] != kAbsent, .weights = true};
  }
  return gradients;
}

}  // namespace thinwire
