// The orders in which long sums are added up, the same for every device: results are the same bits.
//
// A vector is cut into pieces, and a piece into rows of 32 elements. Row r of a piece adds to the sums
// of group r % 4, so that 32 lanes can each read four neighbours of four rows at once. Of the pieces'
// sums, 32 lanes add every 32nd, and the lanes' sums are added in order.
//
// A group of the sum of squares keeps 32 sums, one a place in the row; at the end they are added as
// ((0-7 + 8-15) + (16-23 + 24-31)), those eight in order, and so the groups. A group of the signs'
// sums keeps eight: each row's elements are added in that way first. At the end the groups are added
// place by place as (0 + 1) + (2 + 3), and those eight in order.
#pragma once

#include <stdint.h>

namespace thinwire::sum_tree {

constexpr int64_t kRow = 32, kGroups = 4, kLanes = 32;

/// Elements of a piece of the signs' sums, and the least of one of a sum of squares.
constexpr int64_t kPiece = 4096;

/// Pieces of a sum of squares, at most; and elements of each, for a vector of `size`.
constexpr int64_t kMaxPieces = 4096;
constexpr int64_t PieceSize(int64_t size) {
  constexpr int64_t kStep = kRow * kGroups;
  const int64_t even = (size + kMaxPieces - 1) / kMaxPieces;
  return (even < kPiece ? kPiece : even + kStep - 1) / kStep * kStep;
}

}  // namespace thinwire::sum_tree
