// Sums of flat vectors on the CPU: Device's methods of the same names.
#pragma once

#include "kernels/compression.h"
#include "kernels/view.h"

namespace thinwire::cpu {

void Evaluate(const CompressionInput& input, double beta, View y);
void ScatterAdd(ConstView indices, ConstView values, double factor, View y, int64_t first_index);
void LowerBounds(ConstView numbers, ConstView limits, View places);
void SumParts(ConstView parts, double factor, View sum);

}  // namespace thinwire::cpu
