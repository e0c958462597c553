// The gradient of a filter by a Winograd form.
#pragma once

#include "kernels/cpu/winograd_memory.h"
#include "kernels/device.h"

namespace thinwire::cpu {

/// Planned once: from input images `in` and output gradients `out`.
///
/// The gradient sums over tiles. Few channels ("by images"): a fixed number of groups of tiles,
/// each with sums of its own, added up in order at the end. Many channels ("by positions"): chunks
/// of tiles are transformed by all threads together, and then each transformed filter is summed by
/// one thread. Either way every sum has one order, whatever the number of threads.
class WinogradFilterPass {
 public:
  WinogradFilterPass(Device& device, const WinogradKernels& kernels, const WinogradGrid& in,
                     const WinogradGrid& out, int64_t batch);

  void Run(const float* images, const float* output_gradient, float* filter_gradient) const;

  const char* name() const { return kernels_.name; }

 private:
  struct Memory {
    float *zeros, *v, *z, *sums;
    int64_t v_job, z_job, sums_group;
  };

  Memory Plan(Pieces& pieces) const;

  WinogradStrides v_strides() const;
  WinogradStrides z_strides() const;

  void Transform(const float* images, const float* output_gradient, const float* zeros,
                 int64_t first, int64_t count, float* v, float* z) const;

  /// sums = zᵀ v for rows `rows` of one transformed filter, or added to it: the positions that
  /// share the filter one after the other.
  void Multiply(const float* v, const float* z, int64_t count, int64_t filter, Range rows,
                bool accumulate, float* sums) const;

  void SumByImages(const float* images, const float* output_gradient, const Memory& memory) const;

  void SumByPositions(const float* images, const float* output_gradient,
                      const Memory& memory) const;

  Device& device_;
  const WinogradKernels& kernels_;
  WinogradGrid in_, out_;
  int64_t tiles_;
  bool by_positions_;
  int64_t jobs_, block_ = 0, groups_ = 1;
};

}  // namespace thinwire::cpu
