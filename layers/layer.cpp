#include "layers/layer.h"

#include <fmt/core.h>

#include "kernels/error.h"

namespace thinwire {

std::string FormatShape(const ImageShape& shape) {
  if (shape.height == 1 && shape.width == 1) return fmt::format("{}", shape.channels);
  return fmt::format("{}x{}x{}", shape.height, shape.width, shape.channels);
}

View TensorValue(const ParameterArena& arena, const TensorSpec& tensor, DataType activations) {
  const View value = arena.value(tensor.name, activations);
  if (value.size != tensor.size()) {
    throw Error(fmt::format("the tensor {} has {} elements in memory, but the layer needs {}",
                            tensor.name, value.size, tensor.size()),
                "make the parameters from the same model");
  }
  return value;
}

}  // namespace thinwire
