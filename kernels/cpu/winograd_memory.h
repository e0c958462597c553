// What the passes of Winograd's convolutions share: how their transformed data lies in memory.
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/cpu/winograd_kernels.h"

namespace thinwire::cpu {

inline int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return CeilDivide(a, b) * b; }

/// Floats between positions: padded so that they fall into different cache sets.
inline int64_t PositionStride(int64_t size) { return RoundUp(size, 32) + 16; }

/// Bytes of a tile's transformed values on both sides.
inline int64_t TileBytes(const WinogradKernels& kernels, const WinogradGrid& in,
                         const WinogradGrid& out) {
  return kernels.positions * static_cast<int64_t>(sizeof(float)) * (in.channels + out.channels);
}

/// Floats of [positions][rows][columns] with the padding of PositionStride.
inline int64_t TransformedSize(int64_t positions, int64_t rows, int64_t columns) {
  return positions * PositionStride(rows * columns);
}

/// Hands out aligned pieces of the workspace. Without a base it only counts their bytes.
class Pieces {
 public:
  explicit Pieces(void* base) : base_(static_cast<std::byte*>(base)) {}
  float* Take(int64_t floats) {
    std::byte* piece = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += RoundUp(floats * static_cast<int64_t>(sizeof(float)), 128);
    return reinterpret_cast<float*>(piece);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  int64_t bytes_ = 0;
};

inline void ZeroFloats(float* data, int64_t count) {
  std::memset(data, 0, static_cast<size_t>(count) * sizeof(float));
}

/// Asks for the lines of part `i` of `count` of a range of memory, into the L2 cache.
inline void PrefetchPart(const float* data, int64_t size, int64_t i, int64_t count) {
  constexpr int64_t line = 16;
  for (int64_t j = size * i / count / line; j < size * (i + 1) / count / line; ++j) {
    __builtin_prefetch(data + j * line, 0, 2);
  }
}

/// Part `i` of `count` nearly equal ones of [0, size).
struct Range {
  int64_t begin, end;
};
inline Range Part(int64_t size, int64_t i, int64_t count) {
  return {size * i / count, size * (i + 1) / count};
}

}  // namespace thinwire::cpu
