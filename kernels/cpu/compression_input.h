// A CompressionInput as typed pointers and numbers.
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
          .decayed_size = input.parameters ? input.decayed_size : 0};
}

template <typename T>
struct TypedInput : InputArguments<T> {
  explicit TypedInput(const CompressionInput& input) : InputArguments<T>(ArgumentsOf<T>(input)) {}

  T operator()(int64_t i) const {
    T value = this->gradient_scale * this->values[i];
    if (i < this->decayed_size) value += this->weight_decay * this->parameters[i];
    return this->factor * value;
  }
};

}  // namespace thinwire::cpu
