// Top-K of a vector whose shards lie on different ranks.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/communicator.h"
#include "kernels/compression.h"

namespace thinwire {

/// Agrees on the k elements of largest magnitude, each rank knowing those of its own shard; ties go
/// to the lower index. Radix selection on the magnitude's bits, a byte a round, the ranks' counts
/// of each byte added: 4 rounds of 1 KiB whatever k, 8 for float64.
class ShardedTopK {
 public:
  /// @param shape size: the most candidates of a call; k: of all ranks.
  ShardedTopK(const TopKShareShape& shape, Device& device, Communicator& communicator);

  /// Agrees on the choice among all ranks' candidates, the elements of their shards with the
  /// largest magnitudes, each at least as many as it can have among the k, in the order of their
  /// indices, which rise with the ranks. Waits for the device, once.
  /// @pre all ranks together have k candidates or more.
  /// @return how many of this rank's are among the k.
  int64_t Agree(ConstView values);
  /// Writes them, in order; index_offset is added to the indices (int32).
  void Choose(ConstView indices, ConstView values, int64_t index_offset, View chosen_indices,
              View chosen_values);

 private:
  Device& device_;
  Communicator& communicator_;
  const std::unique_ptr<TopKShare> share_;
  const int64_t rounds_;
  const Buffer counts_, size_;
  int64_t ties_ = 0;  // this rank's that are chosen
};

}  // namespace thinwire
