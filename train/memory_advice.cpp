#include "train/memory_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "layers/execution_plan.h"

namespace thinwire {
namespace {

/// What the layer with most of it reads and writes.
int64_t LargestOperands(const LayerGraph& graph, int64_t batch, DataType type) {
  int64_t largest = 0;
  for (const auto& layer : graph.layers()) {
    int64_t size = batch * layer->output_shape().size();
    for (const int input : layer->inputs()) size += batch * graph.shape({input}).size();
    for (const LayerTensor& tensor : layer->tensors()) size += tensor.spec.size();
    largest = std::max(largest, size * SizeOf(type));
  }
  return largest;
}

class BatchSearch {
 public:
  BatchSearch(const OutOfMemory::Facts& facts, const Settings& settings, const LayerGraph& graph)
      : settings_(settings), graph_(graph) {
    const HeldMemory& held = facts.held;
    int64_t memory = facts.free + held.total();
    // Workers of one process that share the device are about to take as much each.
    const int64_t devices = std::max<int64_t>(1, std::ssize(settings.gpus));
    const int64_t sharing = (settings.workers + devices - 1) / devices;
    if (sharing > 1) memory = std::min(memory, facts.total / sharing);
    // Some is lost between allocations, and to the libraries.
    memory -= memory / 32;
    // Copies of the parameters that are made later: sums of gradients, averages, messages.
    const int64_t copies = (settings.grad_accum_steps > 1 ? 1 : 0) +
                           (settings.model_ema > 0 ? 1 : 0) + (settings.workers > 1 ? 1 : 0);
    const int64_t fixed = held.of(MemoryUse::kParameters) * (2 + copies) / 2 +
                          held.of(MemoryUse::kOptimizer) + held.of(MemoryUse::kMessages) +
                          held.of(MemoryUse::kOther) +
                          (DependsOnBatch(facts.use) ? 0 : facts.asked);
    room_ = memory - fixed;
    workspace_ = std::max(held.of(MemoryUse::kWorkspace),
                          facts.use == MemoryUse::kWorkspace ? facts.asked : 0);
  }

  /// The largest batch that fits and is smaller than the one that did not; 0 if there is none.
  int64_t Largest() const {
    int64_t fits = 0, too_large = *settings_.batch_size;
    while (too_large - fits > 1) {
      const int64_t batch = (fits + too_large) / 2;
      (BytesOf(batch) <= room_ ? fits : too_large) = batch;
    }
    return fits > kRound ? fits / kRound * kRound : fits;
  }

 private:
  static constexpr int64_t kRound = 8;

  static bool DependsOnBatch(MemoryUse use) {
    return use == MemoryUse::kActivations || use == MemoryUse::kWorkspace;
  }

  int64_t BytesOf(int64_t batch) const {
    const int64_t test_batch = settings_.eval_batch_size.value_or(batch);
    const DataType type = ActivationType(settings_);
    return MakeExecutionPlan(graph_, {.batch = batch, .activations = type}).bytes +
           MakeExecutionPlan(graph_, {.batch = test_batch, .training = false, .activations = type})
               .bytes +
           std::max(workspace_ * batch / *settings_.batch_size,
                    LargestOperands(graph_, std::max(batch, test_batch), type));
  }

  const Settings& settings_;
  const LayerGraph& graph_;
  int64_t room_ = 0;       // for what depends on the batch
  int64_t workspace_ = 0;  // that the batch that did not fit is known to need
};

}  // namespace

OutOfMemory WithAdvice(const OutOfMemory& error, const Settings& settings,
                       const LayerGraph& graph) {
  const OutOfMemory::Facts& facts = error.facts();
  const int64_t batch = BatchSearch(facts, settings, graph).Largest();
  if (batch > 0) return OutOfMemory(facts, fmt::format("--batch-size {} would fit", batch));
  return OutOfMemory(facts, fmt::format("no batch would fit; use a smaller model{}",
                                        settings.eval_batch_size ? " or --eval-batch-size" : ""));
}

}  // namespace thinwire
