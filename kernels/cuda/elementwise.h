// Elementwise passes over flat memory on the GPU; see Device.
#pragma once

#include <cstdint>

#include "kernels/cuda/queue.h"
#include "kernels/view.h"

namespace thinwire::cuda {

void Convert(const Queue& queue, ConstView x, View y);
void Add(const Queue& queue, ConstView a, ConstView b, bool relu, View y);
void Relu(const Queue& queue, ConstView x, View y);
void ReluBackward(const Queue& queue, ConstView y, ConstView y_gradient, View x_gradient);
void Dropout(const Queue& queue, ConstView x, float rate, uint64_t seed, uint64_t step, View y);
void Scale(const Queue& queue, ConstView x, double scale, View y);
void Average(const Queue& queue, ConstView x, double decay, View average);

}  // namespace thinwire::cuda
