// Parameters at the start of training.
#pragma once

#include <cstdint>

#include "kernels/parameter_arena.h"
#include "layers/layer_graph.h"

namespace thinwire {

struct InitializationOptions {
  /// The batch norm that ends a residual branch starts with scale 0, so that each block starts as
  /// the identity (Goyal et al., "Accurate, Large Minibatch SGD", 2017).
  bool zero_residual_scale = false;
};

/// Draws all parameters and resets the running statistics. Each element is a pure function of
/// (seed, tensor's name, element's index), so that neither the machine nor the other tensors
/// matter. Distributions are the layers' own: see ConvolutionLayer, LinearLayer, BatchNormLayer.
void InitializeParameters(const LayerGraph& graph, ParameterArena& arena, uint64_t seed,
                          const InitializationOptions& options = {});

}  // namespace thinwire
