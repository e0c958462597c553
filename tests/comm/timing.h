// Latency and bandwidth of a communicator.
#pragma once

#include "comm/communicator.h"

namespace thinwire {

/// Prints, on rank 0, microseconds of an all-gather of a number, and the time of an all-to-all in
/// which each rank sends 44 MB (a ResNet-18's gradients) in all.
void MeasureTimes(Communicator& communicator, Device& device);

}  // namespace thinwire
