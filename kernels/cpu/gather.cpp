#include "kernels/cpu/gather.h"

#include <cassert>

#include "kernels/cpu/compression_input.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {

void Gather(const CompressionInput& input, ConstView state, int state_factor, ConstView indices,
            View values) {
  assert(indices.size == values.size && indices.type == DataType::kInt32);
  assert(input.values.type == values.type);
  WithFloatingType(values.type, [&]<typename T>() {
    const InputArguments<T> in = ArgumentsOf<T>(input);
    const int32_t* at = indices.as<int32_t>();
    const T* other = state.as<T>();
    T* to = values.as<T>();
    constexpr int64_t kChunk = 16384;
    ParallelFor(indices.size, kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const int64_t i = at[j];
        T value = in.gradient_scale * in.values[i];
        if (i < in.decayed_size) value += in.weight_decay * in.parameters[i];
        value *= in.factor;
        to[j] = state_factor == 0 ? value : value + static_cast<T>(state_factor) * other[i];
      }
    });
  });
}

}  // namespace thinwire::cpu
