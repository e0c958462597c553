// Reductions on the CPU: Device's methods of the same names.
#pragma once

#include "kernels/compression.h"
#include "kernels/view.h"

namespace thinwire::cpu {

void SumOfSquares(ConstView x, View result);
void ClipScale(ConstView sum_of_squares, double max_norm, View scale);
int64_t FirstNonFinite(ConstView x);
int64_t FirstNonMagnitude(ConstView x);
int64_t FirstMalformed(ConstView indices, ConstView values, const Range& range);

}  // namespace thinwire::cpu
