// Values at given places, on the CPU.
#pragma once

#include "kernels/compression.h"

namespace thinwire::cpu {

void Gather(const CompressionInput& input, ConstView state, int state_factor, ConstView indices,
            View values);

}  // namespace thinwire::cpu
