// An arena cut into ranges, for what is done with its gradients one part after the other.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/parameter_arena.h"

namespace thinwire {

// Both cut from the ends of the arena's two groups, weights and the rest, since a backward pass
// finishes their tensors last to first: what is left over is at a group's beginning. The ranges
// rise, and are together the arena.

/// Ranges of `elements`, a multiple of the arena's alignment.
std::vector<Range> CutEvenly(const ParameterArena& arena, int64_t elements);
/// Ranges of whole tensors, each as short as makes at least `elements`. One range, if that is all
/// of the arena.
std::vector<Range> CutAtTensors(const ParameterArena& arena, int64_t elements);

}  // namespace thinwire
