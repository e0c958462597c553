#include "kernels/cpu/linear.h"

#include "kernels/cpu/onednn.h"

namespace thinwire {

std::unique_ptr<Linear> MakeCpuLinear(Device& device, const LinearShape& shape) {
  CheckShape(shape);
  return cpu::MakeOnednnLinear(device, shape);
}

}  // namespace thinwire
