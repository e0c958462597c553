// Vectors of an arena's layout as named tensors of a checkpoint, and back. float32 vectors are a
// checkpoint's vectors, float64 ones its wide vectors.
#pragma once

#include <string>
#include <vector>

#include "kernels/parameter_arena.h"
#include "train/checkpoint.h"

namespace thinwire {

/// Stores all of `values` under one name.
void StoreVector(const std::string& name, Device& device, ConstView values, Checkpoint& checkpoint);

/// Stores each segment of `vector` as PREFIX + tensor name, without padding.
void StoreVectors(const std::string& prefix, const std::vector<Segment>& segments, Device& device,
                  ConstView vector, Checkpoint& checkpoint);

/// The reverse; padding becomes zero. @throws Error naming a tensor that the checkpoint lacks or
/// holds in another size; `vector` is then unchanged.
void LoadVectors(const Checkpoint& checkpoint, const std::string& prefix,
                 const std::vector<Segment>& segments, Device& device, View vector);

/// A vector (T: float) or wide vector (T: double) of that many elements. @throws Error likewise.
template <typename T>
const std::vector<T>& FindVector(const Checkpoint& checkpoint, const std::string& name,
                                 int64_t size);

/// Whether the checkpoint holds a vector whose name starts with `prefix`.
bool HoldsVectors(const Checkpoint& checkpoint, const std::string& prefix);

/// A fact that is 0 or more. @throws Error naming it if the checkpoint lacks it.
int64_t FindInteger(const Checkpoint& checkpoint, const std::string& name);
double FindNumber(const Checkpoint& checkpoint, const std::string& name);

}  // namespace thinwire
