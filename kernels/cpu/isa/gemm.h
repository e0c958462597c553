// The matrix product in registers: kRows rows of two vectors of columns are summed over the whole
// depth, each element of `a` broadcast to a vector. With AVX-512, 12 x 2 sums need 14 loads for 24
// multiply-adds, so the loads (two a cycle) are never what the machine waits for, and the panel of
// `b` is read from the L2 cache at 128 bytes in 12 cycles.
#pragma once

#include "kernels/cpu/isa/vector.h"
#include "kernels/cpu/winograd_kernels.h"

namespace thinwire::cpu::THINWIRE_ISA {

#if defined(THINWIRE_ISA_avx512)
constexpr int kGemmRows = 12;
#elif defined(THINWIRE_ISA_avx2)
constexpr int kGemmRows = 6;
#else
constexpr int kGemmRows = 4;
#endif

template <int kRowStride, int kRows, int kVectors>
inline void MultiplyTile(const GemmArguments& g, const float* a, const float* b, float* c) {
  Floats sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = g.accumulate ? Load<Floats>(c + r * g.c_row_stride + v * kLanes) : Floats{};
    }
  }
  for (int64_t done = 0; done < g.depth; done += g.a_block_depth) {
    const int64_t left = g.depth - done;
    const int64_t count = left < g.a_block_depth ? left : g.a_block_depth;
    const float* block = a;
    if constexpr (kRowStride == kLanes) {
      // The next block lies too far off for the machine to foresee it.
      for (int r = 0; r < kRows; ++r) __builtin_prefetch(a + g.a_block_stride + r * kRowStride);
    }
    for (int64_t l = 0; l < count; ++l) {
      Floats row[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) row[v] = Load<Floats>(b + v * g.b_block_stride);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const float factor = block[r * kRowStride];
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sum[r][v] += factor * row[v];
      }
      block += g.a_depth_stride;
      b += kLanes;
    }
    a += g.a_block_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) Store(c + r * g.c_row_stride + v * kLanes, sum[r][v]);
  }
}

/// Calls MultiplyTile for a number of rows known only at run time.
template <int kRowStride, int kVectors, int kRows = kGemmRows>
inline void MultiplyRows(int64_t rows, const GemmArguments& g, const float* a, const float* b,
                         float* c) {
  if constexpr (kRows == 1) {
    MultiplyTile<kRowStride, 1, kVectors>(g, a, b, c);
  } else if (rows == kRows) {
    MultiplyTile<kRowStride, kRows, kVectors>(g, a, b, c);
  } else {
    MultiplyRows<kRowStride, kVectors, kRows - 1>(rows, g, a, b, c);
  }
}

/// Rows are cut into nearly equal tiles, since a tile of few rows is slow.
template <int kRowStride>
inline void MultiplyMatrices(const GemmArguments& g) {
  const int64_t tiles = (g.rows + kGemmRows - 1) / kGemmRows;
  for (int64_t column = 0; column < g.columns; column += 2 * kLanes) {
    const float* b = g.b + column / kLanes * g.b_block_stride;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = tile * g.rows / tiles;
      const int64_t rows = (tile + 1) * g.rows / tiles - row;
      const float* a = g.a + row * kRowStride;
      float* c = g.c + row * g.c_row_stride + column;
      if (column + kLanes < g.columns) {
        MultiplyRows<kRowStride, 2>(rows, g, a, b, c);
      } else {
        MultiplyRows<kRowStride, 1>(rows, g, a, b, c);
      }
    }
  }
}

}  // namespace thinwire::cpu::THINWIRE_ISA
