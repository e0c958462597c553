// Optimizer updates on the CPU: Device's methods of the same names.
#pragma once

#include "kernels/updates.h"

namespace thinwire::cpu {

void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x);
void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
            View max_variance, View x);
void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer, View x);
void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x);
void Update(const FrozenAdamUpdate& update, ConstView momentum, ConstView variance, View x);

}  // namespace thinwire::cpu
