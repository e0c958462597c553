// Pooling and the padding shortcut in float64, straight from their definitions.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/operations.h"

namespace thinwire::reference {

struct PoolingResult {
  std::vector<double> y;
  std::vector<uint8_t> positions;  // max pooling: the winner's place in its window
};
PoolingResult PoolingForward(const PoolingShape& shape, const std::vector<float>& x);
std::vector<double> PoolingBackward(const PoolingShape& shape, const std::vector<float>& y_gradient,
                                    const std::vector<uint8_t>& positions);

std::vector<double> GlobalAveragePoolingForward(const GlobalAveragePoolingShape& shape,
                                                const std::vector<float>& x);
std::vector<double> GlobalAveragePoolingBackward(const GlobalAveragePoolingShape& shape,
                                                 const std::vector<float>& y_gradient);

std::vector<double> PadShortcutForward(const PadShortcutShape& shape, const std::vector<float>& x);
std::vector<double> PadShortcutBackward(const PadShortcutShape& shape,
                                        const std::vector<float>& y_gradient);

}  // namespace thinwire::reference
