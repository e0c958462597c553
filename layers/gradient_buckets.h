// When in a backward pass ranges of the gradient vector are final.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/compression.h"

namespace thinwire {

/// A range of the arena's gradients that nothing writes after a step of the backward pass.
struct GradientBucket {
  Range range;
  size_t step = 0;

  bool operator==(const GradientBucket&) const = default;
};

/// When each of the ranges is final, in the order in which a pass finishes them.
/// @param written Of each step of the pass, the tensors whose gradients it writes.
std::vector<GradientBucket> MakeGradientBuckets(std::span<const Range> ranges,
                                                std::span<const std::vector<Range>> written);

}  // namespace thinwire
