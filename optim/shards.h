// Which rank serves which part of the arena.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/compression.h"

namespace thinwire {

/// The arena cut into one range a rank, in rank order. Sharded: near-equal ranges. Central: rank 0
/// serves everything, and the other ranges are empty. Cuts fall on multiples of the arena's
/// alignment, so that no word of packed signs belongs to two servers.
class Shards {
 public:
  /// @param server "sharded" or "central".
  Shards(int64_t padded_size, int ranks, const std::string& server);

  int ranks() const { return static_cast<int>(ranges_.size()); }
  const Range& operator[](int rank) const { return ranges_[static_cast<size_t>(rank)]; }
  /// Elements of each range.
  const std::vector<int64_t>& sizes() const { return sizes_; }

 private:
  std::vector<Range> ranges_;
  std::vector<int64_t> sizes_;
};

}  // namespace thinwire
