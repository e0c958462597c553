// Kernels with operands of their own, ready to be timed: for thinwire bench and the benchmarks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace thinwire {

/// One kernel, or the few of one call. The first run may allocate.
struct KernelCase {
  std::string name;  // "sign/pack_difference"
  /// What one run cannot avoid: bytes moved to and from memory, or floating-point operations (a
  /// multiply-add counts as 2) where they decide.
  double bytes = 0, operations = 0;
  std::function<void()> run;
};

/// Vectors that cases share, made when first asked for. Cases have to go before it.
class KernelOperands {
 public:
  /// @param elements Of each vector, which padding makes a multiple of 128.
  KernelOperands(Device& device, int64_t elements);

  Device& device() const { return device_; }
  int64_t elements() const { return elements_; }
  int64_t padded() const { return padded_; }

  /// Vector `index` of normal values, padding included, and one of their squares.
  View Vector(size_t index);
  View Variance(size_t index);
  /// Random signs, packed, and the same with a small scale, so that sums of many stay small.
  View Bits(size_t index);
  SignMessage Message(size_t index);
  std::vector<SignMessage> Messages(size_t count);

 private:
  Buffer Upload(bool squares, size_t index);

  Device& device_;
  int64_t elements_, padded_;
  std::vector<float> normal_;
  std::vector<Buffer> vectors_, variances_, bits_;
  Buffer scale_;
};

/// A plain copy of a vector: what the others' bytes are measured by.
KernelCase CopyCase(KernelOperands& operands);
/// The scaled sign's passes, Top-K and sums.
std::vector<KernelCase> CompressionCases(KernelOperands& operands);
std::vector<KernelCase> UpdateCases(KernelOperands& operands);
std::vector<KernelCase> ElementwiseCases(KernelOperands& operands);
/// Forward, inference and backward with ReLU: "batch_norm+relu/64/forward".
std::vector<KernelCase> BatchNormCases(KernelOperands& operands, int64_t channels, bool residual);
KernelCase LossCase(KernelOperands& operands, int64_t classes);

/// All directions of a square layer, "linear/1024/forward", which are products of n x n matrices.
std::vector<KernelCase> LinearCases(Device& device, int64_t n);
/// All directions: "convolution/64x32x32/forward".
std::vector<KernelCase> ConvolutionCases(Device& device, const ConvolutionShape& shape);

}  // namespace thinwire
