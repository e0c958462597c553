// The order in which a sum of squares is added up, the same for every device.
//
// The vector is cut into chunks. A chunk is read in rows of 32 elements: row r adds to the 32 sums
// of group r % 4, so that 32 lanes can each read four neighbours of four rows at once. A group's
// sums are added as a tree, groups in order, and at the end what is left of the last row. Of the
// chunks' sums, 32 lanes add every 32nd, and the lanes' sums are added in order.
#pragma once

#include <stdint.h>

namespace thinwire::sum_tree {

constexpr int64_t kRow = 32, kGroups = 4, kMaxChunks = 4096, kLanes = 32;

/// Elements of a chunk of a vector of `size`.
constexpr int64_t ChunkSize(int64_t size) {
  constexpr int64_t kLeast = 4096, kStep = kRow * kGroups;
  const int64_t even = (size + kMaxChunks - 1) / kMaxChunks;
  return (even < kLeast ? kLeast : even + kStep - 1) / kStep * kStep;
}

}  // namespace thinwire::sum_tree
