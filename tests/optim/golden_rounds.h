// The independent implementation's thousand rounds on real data, by thinwire's own model and data
// reader, over any transport.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "tests/optim/oracle.h"

namespace thinwire {

/// Runs a case in float32 or float64 as one of its workers and compares with its rounds: loss,
/// gradient norm and bits, within oracle::Tolerance.
/// @param rounds at most so many.
/// @return What does not agree; on rank 0 alone.
std::vector<std::string> CompareRounds(const oracle::GoldenRow& row, const std::string& server,
                                       bool mini_batches, int64_t rounds, DataType type,
                                       Device& device, Communicator& communicator);

/// Whether the data of a case is at hand.
bool HasData(const oracle::Case& golden_case);

}  // namespace thinwire
