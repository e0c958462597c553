// Softmax cross-entropy in float64, straight from its definition.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/operations.h"

namespace thinwire::reference {

struct CrossEntropyResult {
  LossResult result;
  std::vector<double> logits_gradient;
};
CrossEntropyResult CrossEntropy(const LossShape& shape, const std::vector<float>& logits,
                                const std::vector<int32_t>& labels, double gradient_scale,
                                double own_label = 1);

}  // namespace thinwire::reference
