#include "kernels/cpu/sums.h"

#include <algorithm>
#include <cassert>

#include "kernels/cpu/compression_input.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {
namespace {

constexpr int64_t kChunk = 16384;

}  // namespace

void Evaluate(const CompressionInput& input, double beta, View y) {
  assert(input.values.size == y.size && input.values.type == y.type);
  WithFloatingType(y.type, [&]<typename T>() {
    const auto arguments = ArgumentsOf<T>(input);
    ParallelFor(y.size, kChunk, [&](int64_t begin, int64_t end) {
      Isa().flat<T>().evaluate(arguments, static_cast<T>(beta), y.as<T>(), begin, end);
    });
  });
}

void ScatterAdd(ConstView indices, ConstView values, double factor, View y, int64_t first_index) {
  assert(indices.size == values.size && indices.type == DataType::kInt32);
  assert(values.type == y.type);
  WithFloatingType(y.type, [&]<typename T>() {
    const int32_t* at = indices.as<int32_t>();
    const T* from = values.as<T>();
    T* to = y.as<T>();
    const T weight = static_cast<T>(factor);
    ParallelFor(indices.size, kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[at[i] - first_index] += weight * from[i];
    });
  });
}

void LowerBounds(ConstView numbers, ConstView limits, View places) {
  assert(limits.size == places.size && numbers.type == DataType::kInt32);
  const int32_t* const begin = numbers.as<int32_t>();
  for (int64_t j = 0; j < limits.size; ++j) {
    const int32_t* const place =
        std::lower_bound(begin, begin + numbers.size, limits.as<int32_t>()[j]);
    places.as<int32_t>()[j] = static_cast<int32_t>(place - begin);
  }
}

void SumParts(ConstView parts, double factor, View sum) {
  assert(parts.type == sum.type && (sum.size == 0 || parts.size % sum.size == 0));
  const int64_t n = sum.size;
  if (sum.type == DataType::kInt32) {
    const int32_t* from = parts.as<int32_t>();
    ParallelFor(n, kChunk, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double total = 0;
        for (int64_t j = i; j < parts.size; j += n) total += from[j];
        sum.as<int32_t>()[i] = static_cast<int32_t>(factor * total);
      }
    });
    return;
  }
  WithFloatingType(sum.type, [&]<typename T>() {
    ParallelFor(n, kChunk, [&](int64_t begin, int64_t end) {
      Isa().flat<T>().sum_parts(parts.as<T>(), parts.size, n, factor, sum.as<T>(), begin, end);
    });
  });
}

}  // namespace thinwire::cpu
