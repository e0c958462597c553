#include "kernels/cpu/linear.h"

#include <fmt/format.h>

#include "kernels/cpu/onednn.h"
#include "kernels/error.h"

namespace thinwire {

std::unique_ptr<Linear> MakeCpuLinear(Device& device, const LinearShape& shape) {
  if (shape.batch < 0 || shape.in_features < 1 || shape.out_features < 1) {
    throw Error(fmt::format("there is no linear layer of [{}, {}] to {} features", shape.batch,
                            shape.in_features, shape.out_features),
                "every size must be positive", Error::Kind::kUsage);
  }
  return cpu::MakeOnednnLinear(device, shape);
}

}  // namespace thinwire
