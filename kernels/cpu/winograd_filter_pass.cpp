#include "kernels/cpu/winograd_filter_pass.h"

#include <algorithm>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {
namespace {

// Measured on Zen 5 (1 MiB of L2 cache a core, 32 MiB of L3) with the layers of CIFAR networks.
constexpr int64_t kFilterBlockBytes = 1 << 20;    // V and Z of a block, by images
constexpr int64_t kFilterChunkBytes = 12 << 20;   // V and Z of a chunk, by positions
constexpr int64_t kPositionChannels = 128 * 128;  // likewise for the sums of the filter's gradient
constexpr int64_t kGroups = 8;                    // of tiles with sums of their own, by images

}  // namespace

WinogradFilterPass::WinogradFilterPass(Device& device, const WinogradKernels& kernels,
                                       const WinogradGrid& in, const WinogradGrid& out,
                                       int64_t batch)
    : device_(device),
      kernels_(kernels),
      in_(in),
      out_(out),
      tiles_(batch * in.tile_rows * in.tile_columns),
      by_positions_(in.channels * out.channels >= kPositionChannels),
      jobs_(ThreadCount()) {
  block_ = by_positions_
               ? std::clamp<int64_t>(kFilterChunkBytes / TileBytes(kernels_, in, out), 64, 1024)
               : std::clamp<int64_t>(kFilterBlockBytes / TileBytes(kernels_, in, out), 24, 128);
  block_ = std::min(block_, std::max<int64_t>(tiles_, 1));
  groups_ = by_positions_ ? 1 : std::min(CeilDivide(tiles_, block_), kGroups);
  Pieces pieces(nullptr);
  Plan(pieces);
  device.ReserveWorkspace(pieces.bytes());
}

void WinogradFilterPass::Run(const float* images, const float* output_gradient,
                             float* filter_gradient) const {
  const int64_t c = in_.channels, k = out_.channels;
  if (tiles_ == 0) {
    ZeroFloats(filter_gradient, k * 9 * c);
    return;
  }
  Pieces pieces(device_.workspace().data);
  const Memory memory = Plan(pieces);
  ZeroFloats(memory.zeros, std::max(c, k));
  if (by_positions_) {
    SumByPositions(images, output_gradient, memory);
  } else {
    SumByImages(images, output_gradient, memory);
  }
  const int64_t sum_position = PositionStride(c * k);
  ParallelFor(k, 4, [&](int64_t begin, int64_t end) {
    for (int64_t group = 1; group < groups_; ++group) {
      for (int64_t f = 0; f < kernels_.filters; ++f) {
        float* total = memory.sums + f * sum_position + begin * c;
        Isa().float32.add(total, total + group * memory.sums_group, false, total, (end - begin) * c, false);
      }
    }
    kernels_.filter_gradient(memory.sums, sum_position, c, begin, end, filter_gradient);
  });
}

WinogradFilterPass::Memory WinogradFilterPass::Plan(Pieces& pieces) const {
  Memory memory{};
  memory.zeros = pieces.Take(std::max(in_.channels, out_.channels));
  memory.v_job = TransformedSize(kernels_.positions, block_, in_.channels);
  memory.z_job = TransformedSize(kernels_.positions, block_, out_.channels);
  memory.sums_group = TransformedSize(kernels_.filters, in_.channels, out_.channels);
  const int64_t jobs = by_positions_ ? 1 : jobs_;
  memory.v = pieces.Take(jobs * memory.v_job);
  memory.z = pieces.Take(jobs * memory.z_job);
  memory.sums = pieces.Take(groups_ * memory.sums_group);
  return memory;
}

WinogradStrides WinogradFilterPass::v_strides() const {
  return {PositionStride(block_ * in_.channels), kernels_.lanes, block_ * kernels_.lanes};
}

WinogradStrides WinogradFilterPass::z_strides() const {
  return {PositionStride(block_ * out_.channels), out_.channels, kernels_.lanes};
}

void WinogradFilterPass::Transform(const float* images, const float* output_gradient,
                                   const float* zeros, int64_t first, int64_t count, float* v,
                                   float* z) const {
  kernels_.input(in_, images, zeros, first, count, v, v_strides());
  kernels_.gradient(out_, output_gradient, zeros, first, count, z, z_strides());
}

void WinogradFilterPass::Multiply(const float* v, const float* z, int64_t count, int64_t filter,
                                  Range rows, bool accumulate, float* sums) const {
  for (int64_t position = 0; position < kernels_.positions; ++position) {
    if (kernels_.filter_of[position] != filter) continue;
    kernels_.multiply_transposed({.rows = rows.end - rows.begin,
                                  .columns = in_.channels,
                                  .depth = count,
                                  .a = z + position * z_strides().position + rows.begin,
                                  .a_block_depth = count,
                                  .a_block_stride = 0,
                                  .a_depth_stride = out_.channels,
                                  .b = v + position * v_strides().position,
                                  .b_block_stride = v_strides().block,
                                  .c = sums +
                                       filter * PositionStride(in_.channels * out_.channels) +
                                       rows.begin * in_.channels,
                                  .c_row_stride = in_.channels,
                                  .accumulate = accumulate});
    accumulate = true;
  }
}

void WinogradFilterPass::SumByImages(const float* images, const float* output_gradient,
                                     const Memory& memory) const {
  const int64_t blocks = CeilDivide(tiles_, block_);
  ParallelChunks(jobs_, [&](int64_t job) {
    float* v = memory.v + job * memory.v_job;
    float* z = memory.z + job * memory.z_job;
    const Range groups = Part(groups_, job, jobs_);
    for (int64_t group = groups.begin; group < groups.end; ++group) {
      const Range range = Part(blocks, group, groups_);
      for (int64_t block = range.begin; block < range.end; ++block) {
        const int64_t first = block * block_, count = std::min(block_, tiles_ - first);
        Transform(images, output_gradient, memory.zeros, first, count, v, z);
        for (int64_t filter = 0; filter < kernels_.filters; ++filter) {
          Multiply(v, z, count, filter, {0, out_.channels}, block != range.begin,
                   memory.sums + group * memory.sums_group);
        }
      }
    }
  });
}

void WinogradFilterPass::SumByPositions(const float* images, const float* output_gradient,
                                        const Memory& memory) const {
  // Filters with several positions are more work than others: every job takes a part of each.
  const int64_t parts =
      kernels_.filters == kernels_.positions ? 1 : std::min(jobs_, out_.channels / kernels_.lanes);
  for (int64_t first = 0; first < tiles_; first += block_) {
    const int64_t count = std::min(block_, tiles_ - first);
    ParallelFor(count, 4, [&](int64_t begin, int64_t end) {
      Transform(images, output_gradient, memory.zeros, first + begin, end - begin,
                memory.v + begin * v_strides().tile, memory.z + begin * z_strides().tile);
    });
    ParallelChunks(parts * kernels_.filters, [&](int64_t i) {
      Multiply(memory.v, memory.z, count, i % kernels_.filters,
               Part(out_.channels, i / kernels_.filters, parts), first != 0, memory.sums);
    });
  }
}

}  // namespace thinwire::cpu
