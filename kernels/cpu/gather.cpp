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
    const CollectArguments<T> v = {.input = ArgumentsOf<T>(input),
                                   .state = state_factor == 0 ? nullptr : state.as<T>(),
                                   .state_factor = static_cast<T>(state_factor)};
    constexpr int64_t kChunk = 16384;
    ParallelFor(indices.size, kChunk, [&](int64_t begin, int64_t end) {
      Isa().flat<T>().gather(v, indices.as<int32_t>() + begin, values.as<T>() + begin, end - begin);
    });
  });
}

}  // namespace thinwire::cpu
