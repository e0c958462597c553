#include "kernels/cpu/elementwise.h"

#include <cassert>
#include <cstring>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {
namespace {

constexpr int64_t kChunk = 16384;  // elements; a multiple of any vector

/// Calls function(begin, count, stream) on chunks of y; a pass that writes over one of its operands
/// has the line at hand, so it does not stream.
template <typename Function>
void ForEachChunk(View y, ConstView a, ConstView b, const Function& function) {
  const int64_t operands = b ? 3 : 2;
  const bool stream = y.data != a.data && y.data != b.data &&
                      ShouldStream(y.data, operands * y.size * SizeOf(y.type));
  ParallelFor(y.size, kChunk,
              [&](int64_t begin, int64_t end) { function(begin, end - begin, stream); });
}

/// For bfloat16: calls function(a, b, y, begin, count) on chunks, with copies in float32 of the two
/// inputs (`b` may be absent) and memory for y.
template <typename Function>
void InFloat32(ConstView a, ConstView b, View y, const Function& function) {
  constexpr int64_t kSmallChunk = 2048;
  ParallelFor(y.size, kSmallChunk, [&](int64_t begin, int64_t end) {
    float first[kSmallChunk], second[kSmallChunk], result[kSmallChunk];
    const int64_t count = end - begin;
    Widen(a.as<BFloat16>() + begin, first, count);
    if (b) Widen(b.as<BFloat16>() + begin, second, count);
    function(first, second, result, begin, count);
    Round(result, y.as<BFloat16>() + begin, count);
  });
}

}  // namespace

void Convert(ConstView x, View y) {
  assert(x.size == y.size);
  ParallelFor(y.size, kChunk, [&](int64_t begin, int64_t end) {
    if (y.type == DataType::kBFloat16) {
      assert(x.type == DataType::kFloat32);
      Round(x.as<float>() + begin, y.as<BFloat16>() + begin, end - begin);
    } else {
      assert(x.type == DataType::kBFloat16 && y.type == DataType::kFloat32);
      Widen(x.as<BFloat16>() + begin, y.as<float>() + begin, end - begin);
    }
  });
}

void Copy(ConstView source, View destination) {
  assert(source.size == destination.size && source.type == destination.type);
  const int64_t bytes = source.size * SizeOf(source.type);
  const ConstView from{source.data, bytes, DataType::kUint8};
  const View to{destination.data, bytes, DataType::kUint8};
  constexpr int64_t chunk = kChunk * sizeof(float);
  const bool stream = ShouldStream(to.data, 2 * bytes);
  ParallelFor(bytes, chunk, [&](int64_t begin, int64_t end) {
    if (stream && (end - begin) % sizeof(float) == 0) {
      Isa().copy(reinterpret_cast<const float*>(from.as<std::byte>() + begin),
                 reinterpret_cast<float*>(to.as<std::byte>() + begin),
                 (end - begin) / static_cast<int64_t>(sizeof(float)), true);
    } else {
      std::memcpy(to.as<std::byte>() + begin, from.as<std::byte>() + begin,
                  static_cast<size_t>(end - begin));
    }
  });
}

void Zero(View destination) {
  constexpr int64_t chunk = kChunk * sizeof(float);
  ParallelFor(destination.size * SizeOf(destination.type), chunk, [&](int64_t begin, int64_t end) {
    std::memset(destination.as<std::byte>() + begin, 0, static_cast<size_t>(end - begin));
  });
}

void Add(ConstView a, ConstView b, bool relu, View y) {
  assert(a.size == y.size && b.size == y.size && a.type == y.type && b.type == y.type);
  if (y.type == DataType::kBFloat16) {
    return InFloat32(
        a, b, y, [&](const float* first, const float* second, float* sum, int64_t, int64_t count) {
          Isa().float32.add(first, second, relu, sum, count, false);
        });
  }
  WithFloatingType(y.type, [&]<typename T>() {
    ForEachChunk(y, a, b, [&](int64_t i, int64_t count, bool stream) {
      Isa().flat<T>().add(a.as<T>() + i, b.as<T>() + i, relu, y.as<T>() + i, count, stream);
    });
  });
}

void Relu(ConstView x, View y) {
  assert(x.size == y.size && x.type == y.type);
  if (y.type == DataType::kBFloat16) {
    return InFloat32(x, {}, y,
                     [](const float* in, const float*, float* out, int64_t, int64_t count) {
                       Isa().relu(in, out, count, false);
                     });
  }
  ForEachChunk(y, x, {}, [&](int64_t i, int64_t count, bool stream) {
    Isa().relu(x.as<float>() + i, y.as<float>() + i, count, stream);
  });
}

void ReluBackward(ConstView y, ConstView y_gradient, View x_gradient) {
  assert(y.size == x_gradient.size && y_gradient.size == x_gradient.size);
  if (y.type == DataType::kBFloat16) {
    return InFloat32(y, y_gradient, x_gradient,
                     [](const float* mask, const float* in, float* out, int64_t, int64_t count) {
                       Isa().relu_backward(mask, in, out, count, false);
                     });
  }
  ForEachChunk(x_gradient, y, y_gradient, [&](int64_t i, int64_t count, bool stream) {
    Isa().relu_backward(y.as<float>() + i, y_gradient.as<float>() + i, x_gradient.as<float>() + i,
                        count, stream);
  });
}

void Dropout(ConstView x, float rate, uint64_t seed, uint64_t step, View y) {
  assert(x.size == y.size && x.type == y.type);
  if (y.type == DataType::kBFloat16) {
    return InFloat32(x, {}, y,
                     [&](const float* in, const float*, float* out, int64_t first, int64_t count) {
                       Isa().dropout(in, rate, seed, step, first, out, count);
                     });
  }
  ParallelFor(y.size, kChunk, [&](int64_t begin, int64_t end) {
    Isa().dropout(x.as<float>() + begin, rate, seed, step, begin, y.as<float>() + begin,
                  end - begin);
  });
}

void Scale(ConstView x, double scale, View y) {
  assert(x.size == y.size && x.type == y.type);
  WithFloatingType(y.type, [&]<typename T>() {
    ForEachChunk(y, x, {}, [&](int64_t i, int64_t count, bool stream) {
      Isa().flat<T>().scale(x.as<T>() + i, static_cast<T>(scale), y.as<T>() + i, count, stream);
    });
  });
}

void Average(ConstView x, double decay, View average) {
  assert(x.size == average.size && x.type == average.type);
  WithFloatingType(x.type, [&]<typename T>() {
    ParallelFor(x.size, kChunk, [&](int64_t begin, int64_t end) {
      Isa().flat<T>().average(x.as<T>() + begin, static_cast<T>(decay), static_cast<T>(1 - decay),
                              average.as<T>() + begin, end - begin);
    });
  });
}

}  // namespace thinwire::cpu
