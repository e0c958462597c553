// Numbers that are only logged.
#pragma once

#include <span>
#include <vector>

#include "comm/communicator.h"

namespace thinwire {

/// Each number's sum over ranks, in rank order. As measurements, they do not count as sent for the
/// training.
std::vector<double> SumOverRanks(Communicator& communicator, Device& device,
                                 std::span<const double> numbers);

}  // namespace thinwire
