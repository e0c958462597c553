// Whether all ranks keep the same parameters, over any transport.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "tests/optim/method_cases.h"

namespace thinwire {

/// Trains `steps` steps on tensors `specs` and compares the ranks' checksums after each.
/// @return The values at the end.
/// @throws std::runtime_error at the first step after which replicas differ or a float32 arena's
///     copy in bfloat16 is not of its values, or if padding is not zero.
std::vector<double> TrainReplicas(const MethodCase& method, const std::string& server,
                                  DataType type, int64_t steps, Device& device,
                                  Communicator& communicator,
                                  const std::vector<TensorSpec>& specs = OddSpecs());

/// The largest difference of two trajectories' ends.
double LargestDifference(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace thinwire
