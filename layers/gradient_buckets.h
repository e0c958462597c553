// The gradient vector cut into ranges, and when in a backward pass each of them is final.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/parameter_arena.h"

namespace thinwire {

/// A range of the arena's gradients that nothing writes after a step of the backward pass.
struct GradientBucket {
  Range range;
  size_t step = 0;

  bool operator==(const GradientBucket&) const = default;
};

/// Buckets of `elements` (a multiple of the arena's alignment) that together are the arena, in the
/// order in which a pass finishes them. They are cut from the ends of the arena's two groups, whose
/// tensors are finished last to first, so what is left over is at a group's beginning.
/// @param written Of each step of the pass, the tensors whose gradients it writes.
std::vector<GradientBucket> MakeGradientBuckets(const ParameterArena& arena,
                                                std::span<const std::vector<Range>> written,
                                                int64_t elements);

}  // namespace thinwire
