// Optimizer updates in float64, straight from the formulas in kernels/updates.h.
#pragma once

#include <vector>

#include "kernels/updates.h"

namespace thinwire::reference {

/// `gradient_scale` multiplies the gradient; the update's own view of it is not read.
void Update(const MomentumUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& buffer, std::vector<double>& x);
/// `max_variance` is empty for Adam.
void Update(const AdamUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& momentum, std::vector<double>& variance,
            std::vector<double>& max_variance, std::vector<double>& x);
void Update(const RmspropUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& variance, std::vector<double>& buffer, std::vector<double>& x);
void Update(const SignSgdUpdate& update, double gradient_scale, const std::vector<float>& gradient,
            std::vector<double>& buffer, std::vector<double>& x);

void Update(const FrozenAdamUpdate& update, const std::vector<double>& momentum,
            const std::vector<double>& variance, std::vector<double>& x);

}  // namespace thinwire::reference
