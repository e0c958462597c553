#include "kernels/cuda/compression_input.cuh"
#include "kernels/cuda/sums.h"

namespace thinwire::cuda {
namespace {

template <typename T>
struct EvaluateBody {
  Input<T> input;
  T beta;
  T* y;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    Vector<T, kWidth> result = input.template At<kWidth>(i, input.GradientScale());
    if (beta != 0) {
      const Vector<T, kWidth> before = Load<kWidth>(y + i);
#pragma unroll
      for (int lane = 0; lane < kWidth; ++lane) {
        result.lanes[lane] = MultiplyAdd(beta, before.lanes[lane], result.lanes[lane]);
      }
    }
    Store<kWidth>(y + i, result);
  }
};

template <typename T>
struct GatherBody {
  Input<T> input;
  const T* state;
  T state_factor;
  const int32_t* indices;
  T* values;

  template <int kWidth>
  __device__ void At(int64_t j) const {
    const Vector<int32_t, kWidth> places = Load<kWidth>(indices + j);
    const T scale = input.GradientScale();
    Vector<T, kWidth> result;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      const int64_t i = places.lanes[lane];
      const T value = input.template At<1>(i, scale).lanes[0];
      result.lanes[lane] = state == nullptr ? value : value + state_factor * state[i];
    }
    Store<kWidth>(values + j, result);
  }
};

template <typename T>
struct ScatterAddBody {
  const int32_t* indices;
  const T* values;
  T factor;
  T* y;
  int64_t first_index;
  const int* halted;

  template <int kWidth>
  __device__ void At(int64_t j) const {
    if (*halted != 0) return;
    const Vector<int32_t, kWidth> places = Load<kWidth>(indices + j);
    const Vector<T, kWidth> addends = Load<kWidth>(values + j);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      y[places.lanes[lane] - first_index] += factor * addends.lanes[lane];
    }
  }
};

struct LowerBoundBody {
  const int32_t* numbers;
  int64_t count;
  const int32_t* limits;
  int32_t* places;

  template <int kWidth>
  __device__ void At(int64_t j) const {
    const Vector<int32_t, kWidth> wanted = Load<kWidth>(limits + j);
    Vector<int32_t, kWidth> found;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      int64_t begin = 0, end = count;
      while (begin < end) {
        const int64_t middle = (begin + end) / 2;
        if (numbers[middle] < wanted.lanes[lane]) {
          begin = middle + 1;
        } else {
          end = middle;
        }
      }
      found.lanes[lane] = static_cast<int32_t>(begin);
    }
    Store<kWidth>(places + j, found);
  }
};

template <typename T>
struct SumPartsBody {
  const T* parts;
  int64_t size, part_size;
  double factor;
  T* sum;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    double total[kWidth] = {};
    for (int64_t j = i; j < size; j += part_size) {
      const Vector<T, kWidth> part = Load<kWidth>(parts + j);
#pragma unroll
      for (int lane = 0; lane < kWidth; ++lane)
        total[lane] += static_cast<double>(part.lanes[lane]);
    }
    Vector<T, kWidth> rounded;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      rounded.lanes[lane] = static_cast<T>(factor * total[lane]);
    }
    Store<kWidth>(sum + i, rounded);
  }
};

template <typename T>
void RunSumParts(const Queue& queue, ConstView parts, double factor, View sum) {
  const bool aligned = AllAligned(parts, sum) && sum.size % kFullWidth<T> == 0;
  ForEach<T>("sum_parts", queue, sum.size, aligned,
             SumPartsBody<T>{parts.as<T>(), parts.size, sum.size, factor, sum.as<T>()});
}

}  // namespace

void Evaluate(const Queue& queue, const CompressionInput& input, double beta, View y) {
  WithFloatingType(y.type, [&]<typename T>() {
    ForEach<T>("evaluate", queue, y.size,
               AllAligned(input.values, input.parameters, input.added, y),
               EvaluateBody<T>{InputOf<T>(queue, input), static_cast<T>(beta), y.as<T>()});
  });
}

void Gather(const Queue& queue, const CompressionInput& input, ConstView state, int state_factor,
            ConstView indices, View values) {
  WithFloatingType(values.type, [&]<typename T>() {
    ForEach<T>("gather", queue, indices.size, AllAligned(indices, values),
               GatherBody<T>{InputOf<T>(queue, input), state_factor == 0 ? nullptr : state.as<T>(),
                             static_cast<T>(state_factor), indices.as<int32_t>(), values.as<T>()});
  });
}

void ScatterAdd(const Queue& queue, ConstView indices, ConstView values, double factor, View y,
                int64_t first_index) {
  WithFloatingType(y.type, [&]<typename T>() {
    ForEach<T>("scatter_add", queue, indices.size, AllAligned(indices, values),
               ScatterAddBody<T>{indices.as<int32_t>(), values.as<T>(), static_cast<T>(factor),
                                 y.as<T>(), first_index, queue.halted});
  });
}

void LowerBounds(const Queue& queue, ConstView numbers, ConstView limits, View places) {
  ForEach<int32_t>("lower_bounds", queue, limits.size, AllAligned(limits, places),
                   LowerBoundBody{numbers.as<int32_t>(), numbers.size, limits.as<int32_t>(),
                                  places.as<int32_t>()});
}

void SumParts(const Queue& queue, ConstView parts, double factor, View sum) {
  if (sum.type == DataType::kInt32) return RunSumParts<int32_t>(queue, parts, factor, sum);
  WithFloatingType(sum.type, [&]<typename T>() { RunSumParts<T>(queue, parts, factor, sum); });
}

}  // namespace thinwire::cuda
