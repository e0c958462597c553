// Sums of flat vectors and of their elements on the GPU; see Device.
#pragma once

#include "kernels/compression.h"
#include "kernels/cuda/queue.h"

namespace thinwire::cuda {

void Evaluate(const Queue& queue, const CompressionInput& input, double beta, View y);
void Gather(const Queue& queue, const CompressionInput& input, ConstView state, int state_factor,
            ConstView indices, View values);
void ScatterAdd(const Queue& queue, ConstView indices, ConstView values, double factor, View y,
                int64_t first_index);
void LowerBounds(const Queue& queue, ConstView numbers, ConstView limits, View places);
void SumParts(const Queue& queue, ConstView parts, double factor, View sum);

}  // namespace thinwire::cuda
