// What a run can do that does not fit its device's memory.
#pragma once

#include "kernels/memory_use.h"
#include "layers/layer_graph.h"
#include "train/settings.h"

namespace thinwire {

/// What ran out of memory, with the --batch-size that would fit beside what does not depend on it:
/// parameters, gradients and optimizer state. Activations are those of the memory plan at that
/// batch. A convolution's workspace is taken to be as large as what it reads and writes, which
/// cuDNN's plans in float32 stay below.
OutOfMemory WithAdvice(const OutOfMemory& error, const Settings& settings, const LayerGraph& graph);

}  // namespace thinwire
