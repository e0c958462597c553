#include <cmath>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/flat.cuh"
#include "kernels/random.h"

namespace thinwire::cuda {
namespace {

/// y[i] = function(a[i], b[i]).
template <typename T, typename Function>
struct MapTwo {
  const T *a, *b;
  T* y;
  Function function;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    const auto first = LoadNumbers<kWidth>(a + i), second = LoadNumbers<kWidth>(b + i);
    Vector<Number<T>, kWidth> result;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      result.lanes[lane] = function(first.lanes[lane], second.lanes[lane]);
    }
    StoreNumbers<kWidth>(y + i, result);
  }
};

/// y[i] = function(x[i]).
template <typename T, typename Function>
struct MapOne {
  const T* x;
  T* y;
  Function function;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    auto values = LoadNumbers<kWidth>(x + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) values.lanes[lane] = function(values.lanes[lane]);
    StoreNumbers<kWidth>(y + i, values);
  }
};

template <typename From, typename To>
struct ConvertBody {
  const From* x;
  To* y;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    StoreNumbers<kWidth>(y + i, LoadNumbers<kWidth>(x + i));
  }
};

/// max(value, 0) that lets NaN through.
template <typename T>
__device__ inline T Positive(T value) {
  return value < T{0} ? T{0} : value;
}

template <typename T>
struct Sum {
  bool relu;
  __device__ T operator()(T a, T b) const { return relu ? Positive(a + b) : a + b; }
};
struct Rectified {
  __device__ float operator()(float x) const { return Positive(x); }
};
struct WherePositive {
  __device__ float operator()(float y, float gradient) const { return y > 0 ? gradient : 0.0f; }
};
template <typename T>
struct Scaled {
  T scale;
  __device__ T operator()(T x) const { return scale * x; }
};
template <typename T>
struct Averaged {
  T decay, complement;
  __device__ T operator()(T x, T average) const { return decay * average + complement * x; }
};

/// Elements 4 q to 4 q + 3 take the four words of counter q.
template <typename T>
struct DropoutBody {
  const T* x;
  T* y;
  float factor;
  uint32_t threshold;  // of a word's upper 24 bits
  uint64_t seed;
  StepArgument<uint64_t> step;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    constexpr int kOfCounter = kWidth < 4 ? kWidth : 4;
    auto values = LoadNumbers<kWidth>(x + i);
#pragma unroll
    for (int first = 0; first < kWidth; first += kOfCounter) {
      const auto words = Philox(seed, step.Get(), static_cast<uint64_t>(i + first) / 4);
#pragma unroll
      for (int lane = first; lane < first + kOfCounter; ++lane) {
        const bool keep = words[(i + lane) % 4] >> 8 >= threshold;
        values.lanes[lane] = keep ? factor * values.lanes[lane] : 0.0f;
      }
    }
    StoreNumbers<kWidth>(y + i, values);
  }
};

template <typename T, typename Function>
void RunMap(const char* name, const Queue& queue, ConstView x, View y, const Function& function) {
  ForEach<T>(name, queue, y.size, AllAligned(x, y),
             MapOne<T, Function>{x.as<T>(), y.as<T>(), function});
}
template <typename T, typename Function>
void RunMap(const char* name, const Queue& queue, ConstView a, ConstView b, View y,
            const Function& function) {
  ForEach<T>(name, queue, y.size, AllAligned(a, b, y),
             MapTwo<T, Function>{a.as<T>(), b.as<T>(), y.as<T>(), function});
}

}  // namespace

void Convert(const Queue& queue, ConstView x, View y) {
  const auto run = [&]<typename From, typename To>() {
    ForEach<BFloat16>("convert", queue, y.size, AllAligned(x, y),
                      ConvertBody<From, To>{x.as<From>(), y.as<To>()});
  };
  if (y.type == DataType::kBFloat16) {
    run.template operator()<float, BFloat16>();
  } else {
    run.template operator()<BFloat16, float>();
  }
}

void Add(const Queue& queue, ConstView a, ConstView b, bool relu, View y) {
  const auto run = [&]<typename T>() { RunMap<T>("add", queue, a, b, y, Sum<Number<T>>{relu}); };
  if (y.type == DataType::kBFloat16) return run.template operator()<BFloat16>();
  WithFloatingType(y.type, run);
}

void Relu(const Queue& queue, ConstView x, View y) {
  WithActivationType(y.type, [&]<typename T>() { RunMap<T>("relu", queue, x, y, Rectified{}); });
}

void ReluBackward(const Queue& queue, ConstView y, ConstView y_gradient, View x_gradient) {
  WithActivationType(y.type, [&]<typename T>() {
    RunMap<T>("relu_backward", queue, y, y_gradient, x_gradient, WherePositive{});
  });
}

void Dropout(const Queue& queue, ConstView x, float rate, uint64_t seed, uint64_t step, View y) {
  const auto threshold = static_cast<uint32_t>(std::ceil(rate * 0x1p24f));
  WithActivationType(y.type, [&]<typename T>() {
    ForEach<T>("dropout", queue, y.size, AllAligned(x, y),
               DropoutBody<T>{x.as<T>(), y.as<T>(), 1.0f / (1.0f - rate), threshold, seed,
                              MakeStepArgument(queue, step)});
  });
}

void Scale(const Queue& queue, ConstView x, double scale, View y) {
  WithFloatingType(y.type, [&]<typename T>() {
    RunMap<T>("scale", queue, x, y, Scaled<T>{static_cast<T>(scale)});
  });
}

void Average(const Queue& queue, ConstView x, double decay, View average) {
  WithFloatingType(x.type, [&]<typename T>() {
    RunMap<T>("average", queue, x, average, average,
              Averaged<T>{static_cast<T>(decay), static_cast<T>(1 - decay)});
  });
}

}  // namespace thinwire::cuda
