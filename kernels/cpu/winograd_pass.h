// Images to images by a Winograd form: forward, and backward data.
#pragma once

#include "kernels/cpu/winograd_memory.h"
#include "kernels/device.h"

namespace thinwire::cpu {

/// Planned once: `in` images to `out` images, whose tiles have the same numbers. With `backward`
/// the filter is turned and its channels change places.
///
/// A block of tiles is taken at a time: input transform (V), a matrix product with the transformed
/// filter (U) at each position giving M, output transform; V and M of a block stay in a core's L2
/// cache. Blocks are independent of each other. Where U is much larger than a cache ("by columns"),
/// the roles change: all tiles are transformed once, and each job transforms the filter for a panel
/// of output channels just before it is used, so that U never reaches memory.
class WinogradPass {
 public:
  WinogradPass(Device& device, const WinogradKernels& kernels, const WinogradGrid& in,
               const WinogradGrid& out, int64_t batch, bool backward);

  /// `bias` may be null.
  void Run(const float* images, const float* filter, const float* bias, float* result) const;

  const char* name() const { return kernels_.name; }

 private:
  struct Memory {
    float *zeros, *sink, *v, *u, *m;
    int64_t v_job, u_job, m_job;  // floats for each job, 0 for what they share
  };

  Memory Plan(Pieces& pieces) const;

  /// Of the images, about: where the pixels of a tile start, to prefetch them.
  int64_t floats_per_tile() const;
  /// Columns that a job takes at a time when it goes by columns.
  int64_t panel() const { return 2 * kernels_.lanes; }

  void TransformFilter(const float* filter, int64_t begin, int64_t end, float* u,
                       int64_t position_stride) const;

  /// m = v u at every position, for `count` tiles and `columns` output channels. Meanwhile `next`,
  /// what the next block of tiles reads, is fetched.
  void Multiply(const float* v, const WinogradStrides& v_strides, const float* u,
                int64_t u_position, int64_t count, int64_t columns, float* m,
                const WinogradStrides& m_strides, const float* next = nullptr,
                int64_t next_size = 0) const;

  void RunByTiles(const float* images, const float* filter, const float* bias, float* result,
                  const Memory& memory) const;

  void RunByColumns(const float* images, const float* filter, const float* bias, float* result,
                    const Memory& memory) const;

  Device& device_;
  const WinogradKernels& kernels_;
  WinogradGrid in_, out_;
  bool backward_;
  int64_t tiles_;
  bool by_columns_;
  int64_t jobs_, block_ = 0;
};

}  // namespace thinwire::cpu
