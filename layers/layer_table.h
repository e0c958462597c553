// What a model consists of and needs, for people and for reports.
#pragma once

#include <cstdint>
#include <string>

#include "layers/layer_graph.h"

namespace thinwire {

/// Totals of a model at one batch size.
struct LayerTotals {
  int64_t layers = 0;
  int64_t parameters = 0;
  int64_t forward_flops = 0;  // of one image; a multiply-add counts as 2
  // Planned activation memory of a batch.
  int64_t training_bytes = 0, training_bytes_without_reuse = 0;
  int64_t inference_bytes = 0, inference_bytes_without_reuse = 0;
};

/// Plans memory without a device, for activations of that type (see NetworkOptions).
/// @throws Error if the graph is not complete.
LayerTotals TotalsOf(const LayerGraph& graph, int64_t batch,
                     DataType activations = DataType::kFloat32);

/// A table with a line a layer (name, kind, output shape, parameters, forward operations and
/// output bytes of the batch), then the totals. @throws Error if the graph is not complete.
std::string FormatLayerTable(const LayerGraph& graph, int64_t batch,
                             DataType activations = DataType::kFloat32);

}  // namespace thinwire
