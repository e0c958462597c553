// Operations on bfloat16 activations on the CPU: those in float32, on copies of their operands.
// They are what other devices are compared with, and no faster than float32.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire::cpu {

/// Memory of the copies, which all operations of a device share.
class Float32Scratch {
 public:
  explicit Float32Scratch(Device& device) : device_(device) {}

  Device& device() const { return device_; }
  /// Makes room for copies of `elements` in `operands` views.
  void Reserve(int64_t elements, int64_t operands);
  View memory() const { return memory_.view(); }

 private:
  Device& device_;
  Buffer memory_;
};

/// @throws Error as the operations in float32.
std::unique_ptr<Convolution> MakeBFloat16Convolution(Float32Scratch& scratch,
                                                     const ConvolutionShape& shape);
std::unique_ptr<Linear> MakeBFloat16Linear(Float32Scratch& scratch, const LinearShape& shape);
std::unique_ptr<BatchNorm> MakeBFloat16BatchNorm(Float32Scratch& scratch,
                                                 const BatchNormShape& shape);
std::unique_ptr<Pooling> MakeBFloat16Pooling(Float32Scratch& scratch, const PoolingShape& shape);
std::unique_ptr<GlobalAveragePooling> MakeBFloat16GlobalAveragePooling(
    Float32Scratch& scratch, const GlobalAveragePoolingShape& shape);
std::unique_ptr<PadShortcut> MakeBFloat16PadShortcut(Float32Scratch& scratch,
                                                     const PadShortcutShape& shape);
std::unique_ptr<Loss> MakeBFloat16Loss(Float32Scratch& scratch, const LossShape& shape);

}  // namespace thinwire::cpu
