// A CompressionInput as the kernels want it.
#pragma once

#include "kernels/compression.h"
#include "kernels/cpu/isa.h"

namespace thinwire::cpu {

template <typename T>
InputArguments<T> ArgumentsOf(const CompressionInput& input) {
  return {.values = input.values.as<T>(),
          .parameters = input.parameters.as<T>(),
          .factor = static_cast<T>(input.factor),
          .gradient_scale = input.gradient_scale ? *input.gradient_scale.as<T>() : T{1},
          .weight_decay = static_cast<T>(input.weight_decay),
          .decayed_size = input.parameters ? input.decayed_size : 0,
          .added = input.added.as<T>(),
          .added_factor = static_cast<T>(input.added_factor)};
}

}  // namespace thinwire::cpu
