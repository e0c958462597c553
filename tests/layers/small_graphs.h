// Graphs that are small enough for float64 loops and together hold every layer and fan-out.
#pragma once

#include <cstdint>
#include <vector>

#include "layers/layer_graph.h"

namespace thinwire {

/// Every layer kind, and every situation in which a value is used more than once.
std::vector<LayerGraph> SmallGraphs();

/// Random layers over random earlier values, all 4x4x3; what is left over is summed.
LayerGraph RandomGraph(uint64_t seed);

}  // namespace thinwire
