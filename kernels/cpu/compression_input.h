// A CompressionInput as typed pointers and numbers.
#pragma once

#include "kernels/compression.h"

namespace thinwire::cpu {

template <typename T>
struct TypedInput {
  explicit TypedInput(const CompressionInput& input)
      : values(input.values.as<T>()),
        parameters(input.parameters.as<T>()),
        factor(static_cast<T>(input.factor)),
        gradient_scale(input.gradient_scale ? *input.gradient_scale.as<T>() : T{1}),
        weight_decay(static_cast<T>(input.weight_decay)),
        decayed_size(input.parameters ? input.decayed_size : 0) {}

  T operator()(int64_t i) const {
    T value = gradient_scale * values[i];
    if (i < decayed_size) value += weight_decay * parameters[i];
    return factor * value;
  }

  const T *values, *parameters;
  T factor, gradient_scale, weight_decay;
  int64_t decayed_size;
};

}  // namespace thinwire::cpu
