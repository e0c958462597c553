// Reductions of flat vectors on the GPU; see Device.
#pragma once

#include "kernels/compression.h"
#include "kernels/cuda/queue.h"
#include "kernels/view.h"

namespace thinwire::cuda {

/// Bytes of scratch memory that the reductions want, zeroed once before the first.
int64_t ReductionScratchBytes();

void SumOfSquares(const Queue& queue, ConstView x, void* scratch, View result);
void ClipScale(const Queue& queue, ConstView sum_of_squares, double max_norm, View scale);
/// Writes the index, or -1, to `result` (one int64_t in device memory); with `halt`, sets the
/// queue's `halted` if there is one.
void FirstNonFinite(const Queue& queue, ConstView x, bool halt, void* result);
/// The same, and always halts.
void FirstNonMagnitude(const Queue& queue, ConstView x, void* result);
void FirstMalformed(const Queue& queue, ConstView indices, ConstView values, const Range& range,
                    void* result);

}  // namespace thinwire::cuda
