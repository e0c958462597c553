// Rand-K's indices, which every rank can make for itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/compression.h"

namespace thinwire {

enum class Direction : uint8_t { kUp, kDown };

/// Whose choice it is: `rank` is the sender's.
struct RandomChoice {
  uint64_t seed = 0;
  int64_t step = 0;  // below 2^43
  int rank = 0;      // below 2^20
  Direction direction = Direction::kUp;
};

/// Fills `indices` with k distinct elements of the ranges, every subset as likely as another, in
/// rising order: a pure function of the arguments, by integers alone. Time and memory are O(k) in
/// expectation, whatever the ranges' sizes; of `indices` up to 3 k are used on the way.
/// @pre ranges rise, are disjoint, end by 2^31 - 1, and have k elements or more.
void ChooseRandomly(std::span<const Range> ranges, int64_t k, const RandomChoice& choice,
                    std::vector<int32_t>& indices);

/// The part of rising indices that lies within a range, such as a shard.
std::span<const int32_t> Within(std::span<const int32_t> indices, Range range);

}  // namespace thinwire
