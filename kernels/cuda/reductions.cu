#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/reductions.h"
#include "kernels/cuda/warp.cuh"
#include "kernels/sum_tree.h"

namespace thinwire::cuda {
namespace {

static_assert(sum_tree::kLanes == kWarp && sum_tree::kRow == kWarp && sum_tree::kGroups == 4);

struct Scratch {
  double piece_sums[sum_tree::kMaxPieces];
  unsigned finished_blocks;  // 0 between launches
};

/// The sum of one piece, in lane 0 of a warp. A lane reads four neighbours at a time: all of a row
/// are in eight lanes, and each lane's row belongs to group lane / 8.
template <typename T, bool kAligned>
__device__ double PieceSum(const T* x, int64_t count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t rows_end = count / kWarp * kWarp;
  double sums[4] = {};
  constexpr int kUnroll = sizeof(T) == 4 ? 4 : 2;
#pragma unroll kUnroll
  for (int64_t i = lane * 4; i < rows_end; i += kWarp * 4) {
    T values[4];
    if constexpr (kAligned) {
      constexpr int kWidth = kFullWidth<T>;
#pragma unroll
      for (int k = 0; k < 4; k += kWidth) {
        const Vector<T, kWidth> vector = Load<kWidth>(x + i + k);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) values[k + j] = vector.lanes[j];
      }
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) values[k] = x[i + k];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      sums[k] += static_cast<double>(values[k]) * static_cast<double>(values[k]);
    }
  }
  // Number 8 j + m of a row's sums is with lane 2 j + m / 4 of the group's eight: first over j.
  double group_sum = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    sums[k] += __shfl_xor_sync(kAllLanes, sums[k], 2);
    sums[k] += __shfl_xor_sync(kAllLanes, sums[k], 4);
    group_sum += sums[k];
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) group_sum += __shfl_down_sync(kAllLanes, sums[k], 1);
  double sum = 0;
#pragma unroll
  for (int group = 0; group < 4; ++group) sum += __shfl_sync(kAllLanes, group_sum, group * 8);
  for (int64_t i = rows_end; i < count; ++i) {
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return sum;
}

/// A warp a piece; the block that finishes last adds up the pieces.
template <typename T, bool kAligned>
__global__ void __launch_bounds__(kFlatThreads)
    SumOfSquaresKernel(const T* x, int64_t size, int64_t piece_size, Scratch* scratch,
                       double* result) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t warps = int64_t{gridDim.x} * (kFlatThreads / kWarp);
  const int64_t pieces = (size + piece_size - 1) / piece_size;
  for (int64_t piece = (int64_t{blockIdx.x} * kFlatThreads + threadIdx.x) / kWarp; piece < pieces;
       piece += warps) {
    const int64_t begin = piece * piece_size;
    const int64_t count = size - begin < piece_size ? size - begin : piece_size;
    const double sum = PieceSum<T, kAligned>(x + begin, count);
    if (lane == 0) scratch->piece_sums[piece] = sum;
  }
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(&scratch->finished_blocks, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || threadIdx.x >= kWarp) return;
  __threadfence();
  double lane_sum = 0;
  for (int64_t piece = lane; piece < pieces; piece += kWarp) {
    lane_sum += static_cast<volatile Scratch*>(scratch)->piece_sums[piece];
  }
  double total = 0;
  for (int from = 0; from < kWarp; ++from) total += __shfl_sync(kAllLanes, lane_sum, from);
  if (lane == 0) {
    *result = total;
    scratch->finished_blocks = 0;
  }
}

template <typename T>
__global__ void __launch_bounds__(1)
    ClipScaleKernel(const double* sum_of_squares, double max_norm, T* scale) {
  const double ratio = max_norm / (sqrt(*sum_of_squares) + 1e-6);
  *scale = ratio > 1 ? T{1} : static_cast<T>(ratio);  // NaN stays
}

/// The first that is NaN or Inf, or negative where magnitudes are wanted.
template <typename T, bool kMagnitudes>
struct FirstNonFiniteBody {
  const T* x;
  unsigned long long* result;
  int* halted;  // or null

  template <int kWidth>
  __device__ void At(int64_t i) const {
    const auto values = LoadNumbers<kWidth>(x + i);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      if (!isfinite(values.lanes[lane]) || (kMagnitudes && values.lanes[lane] < 0)) {
        atomicMin(result, static_cast<unsigned long long>(i + lane));
        if (halted != nullptr) atomicExch(halted, 1);
        return;
      }
    }
  }
};

template <typename T>
struct FirstMalformedBody {
  const int32_t* indices;
  const T* values;
  Range range;
  unsigned long long* result;
  int* halted;

  template <int kWidth>
  __device__ void At(int64_t j) const {
    const Vector<int32_t, kWidth> places = Load<kWidth>(indices + j);
    const Vector<T, kWidth> numbers = Load<kWidth>(values + j);
    int64_t least = j == 0 ? range.begin : int64_t{indices[j - 1]} + 1;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      const int64_t place = places.lanes[lane];
      if (place < least || place >= range.end || !isfinite(numbers.lanes[lane])) {
        atomicMin(result, static_cast<unsigned long long>(j + lane));
        atomicExch(halted, 1);
        return;
      }
      least = place + 1;
    }
  }
};

}  // namespace

int64_t ReductionScratchBytes() { return sizeof(Scratch); }

void SumOfSquares(const Queue& queue, ConstView x, void* scratch, View result) {
  WithFloatingType(x.type, [&]<typename T>() {
    const int64_t piece_size = sum_tree::PieceSize(x.size);
    const int64_t pieces = (x.size + piece_size - 1) / piece_size;
    Grid grid = GridFor(queue, pieces * kWarp, kFlatThreads);
    if (grid.blocks == 0) grid.blocks = 1;  // to write the 0
    Launch("sum_of_squares", queue, grid,
           Aligned(x.data) ? SumOfSquaresKernel<T, true> : SumOfSquaresKernel<T, false>, x.as<T>(),
           x.size, piece_size, static_cast<Scratch*>(scratch), result.as<double>());
  });
}

void ClipScale(const Queue& queue, ConstView sum_of_squares, double max_norm, View scale) {
  WithFloatingType(scale.type, [&]<typename T>() {
    Launch("clip_scale", queue, {.blocks = 1, .threads = 1}, ClipScaleKernel<T>,
           sum_of_squares.as<double>(), max_norm, scale.as<T>());
  });
}

void FirstNonFinite(const Queue& queue, ConstView x, bool halt, void* result) {
  Fill(queue, result, 0xFF, sizeof(int64_t));  // -1
  const auto run = [&]<typename T>() {
    ForEach<T>("first_non_finite", queue, x.size, Aligned(x.data),
               FirstNonFiniteBody<T, false>{x.as<T>(), static_cast<unsigned long long*>(result),
                                            halt ? queue.halted : nullptr});
  };
  if (x.type == DataType::kBFloat16) return run.template operator()<BFloat16>();
  WithFloatingType(x.type, run);
}

void FirstNonMagnitude(const Queue& queue, ConstView x, void* result) {
  Fill(queue, result, 0xFF, sizeof(int64_t));  // -1
  WithFloatingType(x.type, [&]<typename T>() {
    ForEach<T>("first_non_magnitude", queue, x.size, Aligned(x.data),
               FirstNonFiniteBody<T, true>{x.as<T>(), static_cast<unsigned long long*>(result),
                                           queue.halted});
  });
}

void FirstMalformed(const Queue& queue, ConstView indices, ConstView values, const Range& range,
                    void* result) {
  Fill(queue, result, 0xFF, sizeof(int64_t));  // -1
  WithFloatingType(values.type, [&]<typename T>() {
    ForEach<T>("first_malformed", queue, indices.size, AllAligned(indices, values),
               FirstMalformedBody<T>{indices.as<int32_t>(), values.as<T>(), range,
                                     static_cast<unsigned long long*>(result), queue.halted});
  });
}

}  // namespace thinwire::cuda
