// A model's weights in safetensors files, under PyTorch's names and layouts.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/parameter_arena.h"

namespace thinwire {

/// Loads weights and running statistics into the arena: KCRS -> KRSC, weights of a linear layer
/// behind a flattened image permuted, leading "module." and "_orig_mod." dropped, the usual other
/// names understood (linear/fc/classifier of the final layer, shortcut/downsample). F32, F64, F16
/// and BF16 are read; num_batches_tracked is ignored. Nothing is changed unless all fits.
/// @throws Error listing missing, unexpected and misshapen tensors.
void LoadWeights(const std::string& path, ParameterArena& arena);

/// The reverse: F32, PyTorch's names and layouts, and a num_batches_tracked of `batches_tracked`
/// for each batch norm. Atomic. @throws Error with path and cause.
void SaveWeights(const std::string& path, const ParameterArena& arena, int64_t batches_tracked = 0);

}  // namespace thinwire
