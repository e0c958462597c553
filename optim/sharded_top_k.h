// Top-K of a vector whose shards lie on different ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"

namespace thinwire {

/// One rank's candidates: the elements of its shard with the largest magnitudes, at least as many
/// as it can have among the k. Indices rise; index ranges rise with the ranks.
struct Candidates {
  std::vector<int32_t> indices;
  std::vector<double> values;
};

/// Leaves of each rank's candidates those that are among the k of largest magnitude of all ranks',
/// ties to the lower index: radix selection on the magnitude's bits, a byte a round, the ranks'
/// counts of each byte added. Costs 4 rounds of 1 KiB whatever k, 8 for float64 vectors; none if
/// there is one rank.
/// @param type of the vector, float32 or float64.
/// @pre all ranks together have k candidates or more; all values are finite.
void SelectAcrossRanks(Candidates& candidates, int64_t k, DataType type, Device& device,
                       Communicator& communicator);

}  // namespace thinwire
