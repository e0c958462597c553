// A layer graph evaluated by plain float64 loops on a tape: loss, logits and exact gradients, and
// none of the code that is tested.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "layers/layer_graph.h"

namespace thinwire {

struct Float64Batch {
  std::vector<float> images;    // NHWC
  std::vector<int32_t> labels;  // negative: the row does not count
};

struct Float64Options {
  bool training = true;
  double gradient_scale = 1;
  double label_smoothing = 0;
  /// What dropout multiplies with, by layer.
  std::map<std::string, std::vector<float>> dropout_masks = {};
};

struct Float64Result {
  double loss_sum = 0;
  std::vector<double> logits;
  std::map<std::string, std::vector<double>> gradients;       // of loss_sum * gradient_scale
  std::map<std::string, std::vector<double>> running_values;  // after the pass, by tensor
};

/// @param tensors All tensors of the graph by name, running statistics included.
Float64Result EvaluateFloat64(const LayerGraph& graph,
                              const std::map<std::string, std::vector<float>>& tensors,
                              const Float64Batch& batch, const Float64Options& options);

}  // namespace thinwire
