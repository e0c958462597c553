// What the scaled sign's kernels are made of.
//
// A warp takes a piece: 128 elements at a time, four neighbours a lane, so that eight lanes hold a
// word's elements and vectors move 16 bytes.
#pragma once

#include "kernels/cuda/compression_input.cuh"
#include "kernels/cuda/warp.cuh"
#include "kernels/sign_pieces.h"

namespace thinwire::cuda {

constexpr int kNeighbours = 4;  // elements of a lane

/// kCount consecutive elements, loaded in vectors of 16 bytes where `aligned` says that those of
/// kNeighbours can be.
template <int kCount, typename T>
__device__ inline Vector<T, kCount> LoadLanes(const T* from, bool aligned) {
  Vector<T, kCount> result;
  if (kCount == kNeighbours && aligned) {
    constexpr int kWidth = kFullWidth<T>;
#pragma unroll
    for (int i = 0; i + kWidth <= kCount; i += kWidth) {
      const Vector<T, kWidth> part = Load<kWidth>(from + i);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) result.lanes[i + j] = part.lanes[j];
    }
    return result;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) result.lanes[i] = from[i];
  return result;
}
template <int kCount, typename T>
__device__ inline void StoreLanes(T* to, const Vector<T, kCount>& values, bool aligned) {
  if (kCount == kNeighbours && aligned) {
    constexpr int kWidth = kFullWidth<T>;
#pragma unroll
    for (int i = 0; i + kWidth <= kCount; i += kWidth) {
      Vector<T, kWidth> part;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) part.lanes[j] = values.lanes[i + j];
      Store<kWidth>(to + i, part);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = values.lanes[i];
}

/// A message in device memory; without words there is none.
template <typename T>
struct Message {
  const uint32_t* words = nullptr;
  const T* scales = nullptr;
};

/// scale * sign of the elements from `i` on, whose word this is.
template <int kCount, typename T>
__device__ inline Vector<T, kCount> Decode(uint32_t word, int64_t i, T scale) {
  const uint32_t bits = word >> (i % 32);
  Vector<T, kCount> result;
#pragma unroll
  for (int k = 0; k < kCount; ++k) result.lanes[k] = (bits >> k & 1) != 0 ? scale : -scale;
  return result;
}

/// error - scale * sign(error)
template <typename T>
__device__ inline T Settled(T scale, T error) {
  return error + (error >= 0 ? -scale : scale);
}

template <int kCount, typename T>
__device__ inline Vector<T, kCount> Plus(Vector<T, kCount> a, const Vector<T, kCount>& b) {
#pragma unroll
  for (int k = 0; k < kCount; ++k) a.lanes[k] += b.lanes[k];
  return a;
}

/// A pass's input is an Input, or the mean of decoded messages, added in their order.
template <typename T>
struct WorkerInput {
  Input<T> input;

  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t i, int64_t, bool aligned) const {
    return input.template At<kCount>(
        i, input.GradientScale(), [&](const T* from) { return LoadLanes<kCount>(from, aligned); });
  }
};

template <typename T>
struct MeanOfMessages {
  static constexpr int kMost = 128;

  // Of each message; not an array of structs, whose elements __builtin_clear_padding damages (GCC
  // 12).
  const uint32_t* words[kMost];
  const T* scales[kMost];
  int count;

  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t i, int64_t group, bool) const {
    auto sum = Decode<kCount>(words[0][i / 32], i, scales[0][group]);
    for (int m = 1; m < count; ++m) {
      sum = Plus(sum, Decode<kCount>(words[m][i / 32], i, scales[m][group]));
    }
    const T divisor = static_cast<T>(count);
    const T inverse = 1 / divisor;  // exact for a power of two, and then the same
    const bool power = (count & (count - 1)) == 0;
#pragma unroll
    for (T& value : sum.lanes) value = power ? value * inverse : value / divisor;
    return sum;
  }
};

/// The operands that a pass may have; it uses some.
template <typename T>
struct SignOperands {
  T* state = nullptr;  // or estimate, or error
  const T* target = nullptr;
  Message<T> pending{};
  bool aligned = false;
};

// The passes: what is packed of the elements from `i` on, whose input is `input`.

template <typename T>
struct PackInputPass {
  SignOperands<T> a;
  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t, int64_t, const Vector<T, kCount>& input) const {
    return input;
  }
};

template <typename T>
struct PackDifferencePass {
  SignOperands<T> a;
  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t i, int64_t group, Vector<T, kCount> input) const {
    auto state = LoadLanes<kCount>(a.state + i, a.aligned);
    if (a.pending.words != nullptr) {
      state = Plus(state, Decode<kCount>(a.pending.words[i / 32], i, a.pending.scales[group]));
      StoreLanes<kCount>(a.state + i, state, a.aligned);
    }
#pragma unroll
    for (int k = 0; k < kCount; ++k) input.lanes[k] -= state.lanes[k];
    return input;
  }
};

template <typename T>
struct PackSumPass {
  SignOperands<T> a;
  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t i, int64_t group, const Vector<T, kCount>& input) const {
    auto error = LoadLanes<kCount>(a.state + i, a.aligned);
    if (a.pending.scales != nullptr) {
      const T scale = a.pending.scales[group];
#pragma unroll
      for (T& value : error.lanes) value = Settled(scale, value);
    }
    error = Plus(error, input);
    StoreLanes<kCount>(a.state + i, error, a.aligned);
    return error;
  }
};

template <typename T>
struct PackEstimatePass {
  SignOperands<T> a;
  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t i, int64_t, const Vector<T, kCount>& mean) const {
    auto estimate = Plus(LoadLanes<kCount>(a.state + i, a.aligned), mean);
    StoreLanes<kCount>(a.state + i, estimate, a.aligned);
    const auto target = LoadLanes<kCount>(a.target + i, a.aligned);
#pragma unroll
    for (int k = 0; k < kCount; ++k) estimate.lanes[k] -= target.lanes[k];
    return estimate;
  }
};

}  // namespace thinwire::cuda
