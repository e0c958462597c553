#include "layers/layer_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <vector>

#include "layers/execution_plan.h"

namespace thinwire {
namespace {

/// 11173962 as "11,173,962".
std::string Grouped(int64_t number) {
  std::string text = fmt::format("{}", number);
  for (auto i = static_cast<int64_t>(text.size()) - 3; i > 0; i -= 3) {
    text.insert(static_cast<size_t>(i), 1, ',');
  }
  return text;
}

std::string Operations(int64_t flops) {
  if (flops == 0) return "0";
  if (flops < 1'000'000) return fmt::format("{:.1f} KFLOP", static_cast<double>(flops) * 1e-3);
  if (flops < 1'000'000'000) return fmt::format("{:.1f} MFLOP", static_cast<double>(flops) * 1e-6);
  return fmt::format("{:.2f} GFLOP", static_cast<double>(flops) * 1e-9);
}

std::string Memory(int64_t bytes) {
  if (bytes < 1 << 20) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) * 0x1p-10);
  if (bytes < 1 << 30) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) * 0x1p-20);
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) * 0x1p-30);
}

int64_t ParametersOf(const Layer& layer) {
  int64_t count = 0;
  for (const LayerTensor& tensor : layer.tensors()) {
    if (tensor.spec.trainable()) count += tensor.spec.size();
  }
  return count;
}

using Row = std::array<std::string, 6>;

std::string FormatRows(const std::vector<Row>& rows) {
  constexpr size_t kFirstNumber = 3;  // text columns are left-aligned, numbers right-aligned
  std::array<size_t, 6> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) text += "  ";
      text += i < kFirstNumber ? fmt::format("{:<{}}", row[i], widths[i])
                               : fmt::format("{:>{}}", row[i], widths[i]);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

LayerTotals TotalsOf(const LayerGraph& graph, int64_t batch, DataType activations) {
  ExecutionOptions options{.batch = batch, .training = true};
  options.activations = activations;
  const ExecutionPlan training = MakeExecutionPlan(graph, options);
  options.training = false;
  const ExecutionPlan inference = MakeExecutionPlan(graph, options);
  return {.layers = static_cast<int64_t>(graph.layers().size()),
          .parameters = graph.parameter_count(),
          .forward_flops = graph.forward_flops(),
          .training_bytes = training.bytes,
          .training_bytes_without_reuse = training.bytes_without_reuse,
          .inference_bytes = inference.bytes,
          .inference_bytes_without_reuse = inference.bytes_without_reuse};
}

std::string FormatLayerTable(const LayerGraph& graph, int64_t batch, DataType activations) {
  std::vector<Row> rows = {{"layer", "kind", "output", "parameters", "forward/image",
                            fmt::format("output, batch {}", batch)}};
  for (const auto& layer : graph.layers()) {
    const int64_t bytes = batch * layer->output_shape().size() * SizeOf(activations);
    rows.push_back({layer->name(), layer->description(), FormatShape(layer->output_shape()),
                    Grouped(ParametersOf(*layer)), Operations(layer->forward_flops()),
                    Memory(bytes)});
  }
  const LayerTotals totals = TotalsOf(graph, batch, activations);
  return FormatRows(rows) +
         fmt::format(
             "\n{}: {} layers, image {}, {} classes\n"
             "parameters         {}\n"
             "forward, an image  {}\n"
             "training memory    {} of activations and their gradients{} at batch {} "
             "({} without reuse)\n"
             "inference memory   {} of activations at batch {} ({} without reuse)\n",
             graph.name(), totals.layers, FormatShape(graph.image_shape()), graph.classes(),
             Grouped(totals.parameters), Operations(totals.forward_flops),
             Memory(totals.training_bytes), activations == DataType::kBFloat16 ? " in bf16" : "",
             batch, Memory(totals.training_bytes_without_reuse), Memory(totals.inference_bytes),
             batch, Memory(totals.inference_bytes_without_reuse));
}

}  // namespace thinwire
