// Optimizer updates on the GPU: Device's methods of the same names.
#pragma once

#include "kernels/cuda/queue.h"
#include "kernels/updates.h"

namespace thinwire::cuda {

void Update(const Queue& queue, const MomentumUpdate& update, ConstView gradient, View buffer,
            View x);
void Update(const Queue& queue, const AdamUpdate& update, ConstView gradient, View momentum,
            View variance, View max_variance, View x);
void Update(const Queue& queue, const RmspropUpdate& update, ConstView gradient, View variance,
            View buffer, View x);
void Update(const Queue& queue, const SignSgdUpdate& update, ConstView gradient, View buffer,
            View x);
void Update(const Queue& queue, const FrozenAdamUpdate& update, ConstView momentum,
            ConstView variance, View x);

}  // namespace thinwire::cuda
