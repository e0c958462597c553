// Top-K of a vector whose shards lie on different ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace thinwire {

/// Agrees on the k elements of largest magnitude, each rank knowing those of its own shard; ties go
/// to the lower index. Radix selection on the magnitude's bits, a byte a round, the ranks' counts
/// of each byte added: 4 rounds of 1 KiB whatever k, 8 for float64; none if there is one rank.
class ShardedTopK {
 public:
  ShardedTopK(int64_t k, Device& device, Communicator& communicator);

  /// Of this rank's candidates, the elements of its shard with the largest magnitudes, at least as
  /// many as it can have among the k, moves those that are among the k to the front, in their
  /// order. Host memory: indices (int32) rise, and index ranges rise with the ranks; values are
  /// float32 or float64, and finite.
  /// @pre all ranks together have k candidates or more.
  /// @return how many they are.
  int64_t Select(View indices, View values);

 private:
  template <typename T>
  int64_t SelectOf(View indices, View values);

  int64_t k_;
  Device& device_;
  Communicator& communicator_;
  Buffer counts_;                    // of each byte
  std::vector<uint64_t> remaining_;  // keys that agree with the k-th largest so far
};

}  // namespace thinwire
