// Sums over the rows of [rows, channels]: in a block, over the blocks of a column by the one that
// finishes last, each in one order for all runs.
#pragma once

#include "kernels/cuda/columns.cuh"

namespace thinwire::cuda {

/// Row blocks of a grid that reduces, at most.
constexpr int64_t kMaxRowBlocks = 512;

/// Memory of a reduction over rows. Sums is a struct of numbers that begins as zeros, with
/// `__device__ void Add(const volatile Sums&)`.
template <typename Sums>
struct ReductionMemory {
  Sums* partial;      // [row_blocks, channels]
  unsigned* tickets;  // [column_blocks], zeros between launches
};

/// Bytes of partial sums, for columns of any width.
template <typename Sums>
int64_t PartialBytes(const Queue& queue, int64_t rows, int64_t channels) {
  int64_t blocks = 0;
  for (const int width : {1, kFullWidth<float>, kFullWidth<BFloat16>}) {
    const ColumnGrid grid(queue, rows, channels, width, kMaxRowBlocks);
    if (grid.row_blocks > blocks) blocks = grid.row_blocks;
  }
  return blocks * channels * static_cast<int64_t>(sizeof(Sums));
}

/// Bytes of tickets, for the same.
inline int64_t TicketBytes(const Queue& queue, int64_t rows, int64_t channels) {
  const ColumnGrid narrow(queue, rows, channels, 1, kMaxRowBlocks);
  return narrow.column_blocks * static_cast<int64_t>(sizeof(unsigned));
}

/// Adds up the threads' sums of a column over the block, and over all blocks of the column; the
/// last of these calls finish(channel, sums) for each channel. All threads of the block call this.
template <int kWidth, typename Sums, typename Finish>
__device__ void FinishColumns(const ColumnGrid& grid, const ReductionMemory<Sums>& memory,
                              const Sums (&own)[kWidth], const Finish& finish) {
  __shared__ Sums block[kColumnThreads];
  __shared__ bool last;
  const int64_t channel = grid.Channel();
  // The sums of the rows in a block, in its first row.
  const auto add_rows = [&](Sums& total) {
    for (int row = 1; row < grid.RowsInBlock(); ++row) {
      total.Add(block[(row << grid.shift) + grid.ColumnInBlock()]);
    }
  };
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    block[threadIdx.x] = own[k];
    __syncthreads();
    if (grid.RowInBlock() == 0 && channel < grid.channels) {
      Sums total = own[k];
      add_rows(total);
      memory.partial[grid.RowBlock() * grid.channels + channel + k] = total;
    }
    __syncthreads();
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* ticket = &memory.tickets[grid.ColumnBlock()];
    last = atomicAdd(ticket, 1u) == grid.row_blocks - 1;
    if (last) *ticket = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  // Again a thread a column and some of the row blocks, then those below each other.
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    Sums some;
    if (channel < grid.channels) {
      for (int64_t r = grid.RowInBlock(); r < grid.row_blocks; r += grid.RowsInBlock()) {
        some.Add(memory.partial[r * grid.channels + channel + k]);
      }
    }
    block[threadIdx.x] = some;
    __syncthreads();
    if (grid.RowInBlock() == 0 && channel < grid.channels) {
      add_rows(some);
      finish(channel + k, some);
    }
    __syncthreads();
  }
}

}  // namespace thinwire::cuda
