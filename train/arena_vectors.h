// Vectors of an arena's layout as named tensors of a checkpoint, and back.
#pragma once

#include <string>
#include <vector>

#include "kernels/parameter_arena.h"
#include "train/checkpoint.h"

namespace thinwire {

/// Stores each segment of `vector` as PREFIX + tensor name, without padding.
void StoreVectors(const std::string& prefix, const std::vector<Segment>& segments, Device& device,
                  ConstView vector, Checkpoint& checkpoint);

/// The reverse; padding becomes zero. @throws Error naming a tensor that the checkpoint lacks or
/// holds in another size; `vector` is then unchanged.
void LoadVectors(const Checkpoint& checkpoint, const std::string& prefix,
                 const std::vector<Segment>& segments, Device& device, View vector);

/// Whether the checkpoint holds a vector whose name starts with `prefix`.
bool HoldsVectors(const Checkpoint& checkpoint, const std::string& prefix);

}  // namespace thinwire
