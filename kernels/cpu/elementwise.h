// Elementwise passes on the CPU: Device's methods of the same names.
#pragma once

#include "kernels/view.h"

namespace thinwire::cpu {

void Copy(ConstView source, View destination);
void Zero(View destination);
void Convert(ConstView x, View y);
void Add(ConstView a, ConstView b, bool relu, View y);
void Relu(ConstView x, View y);
void ReluBackward(ConstView y, ConstView y_gradient, View x_gradient);
void Dropout(ConstView x, float rate, uint64_t seed, uint64_t step, View y);
void Scale(ConstView x, double scale, View y);
void Average(ConstView x, double decay, View average);

}  // namespace thinwire::cpu
