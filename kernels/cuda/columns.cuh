// Passes over [rows, channels] with something for each channel: a thread keeps one column, of one
// channel or of as many as 16 bytes hold, and goes down the rows.
#pragma once

#include <cstdint>

#include "kernels/cuda/flat.cuh"

namespace thinwire::cuda {

constexpr int kColumnThreads = 256;

/// How a grid covers [rows, channels]: a block is 2^shift columns wide, and its other threads are
/// one below the other.
struct ColumnGrid {
  int64_t rows = 0, channels = 0;
  int width = 1;  // channels of a column
  int shift = 0;
  int64_t column_blocks = 1, row_blocks = 1;

  ColumnGrid() = default;
  /// @param full_width Channels of a column where they divide all: those of 16 bytes, or 1 for
  ///     operands that are not aligned.
  /// @param most_row_blocks Bounds what a reduction leaves behind.
  ColumnGrid(const Queue& queue, int64_t row_count, int64_t channel_count, int full_width,
             int64_t most_row_blocks)
      : rows(row_count),
        channels(channel_count),
        width(channel_count % full_width == 0 ? full_width : 1) {
    const int64_t columns = channels / width;
    while (shift < 5 && (int64_t{1} << shift) < columns) ++shift;
    column_blocks = (columns + (int64_t{1} << shift) - 1) >> shift;
    constexpr int64_t kRowsOfThread = 4, kBlocksOfMultiprocessor = 8;
    const int64_t tall = (kColumnThreads >> shift) * kRowsOfThread;
    const int64_t enough =
        (queue.multiprocessors * kBlocksOfMultiprocessor + column_blocks - 1) / column_blocks;
    row_blocks = (rows + tall - 1) / tall;
    if (row_blocks > enough) row_blocks = enough;
    if (row_blocks > most_row_blocks) row_blocks = most_row_blocks;
    if (row_blocks < 1) row_blocks = 1;
  }

  Grid Blocks() const { return {.blocks = column_blocks * row_blocks, .threads = kColumnThreads}; }

#if defined(__CUDACC__)
  __device__ int64_t ColumnBlock() const { return blockIdx.x % column_blocks; }
  __device__ int64_t RowBlock() const { return blockIdx.x / column_blocks; }
  __device__ int ColumnInBlock() const {
    return static_cast<int>(threadIdx.x) & ((1 << shift) - 1);
  }
  __device__ int RowInBlock() const { return static_cast<int>(threadIdx.x) >> shift; }
  __device__ int RowsInBlock() const { return kColumnThreads >> shift; }
  /// The thread's first channel; at or behind `channels` where it has none.
  __device__ int64_t Channel() const {
    return ((ColumnBlock() << shift) + ColumnInBlock()) * width;
  }
  /// The thread's rows are FirstRow(), and every RowStep()th after it.
  __device__ int64_t FirstRow() const { return RowBlock() * RowsInBlock() + RowInBlock(); }
  __device__ int64_t RowStep() const { return row_blocks * RowsInBlock(); }
#endif
};

}  // namespace thinwire::cuda
