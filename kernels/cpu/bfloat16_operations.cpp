#include "kernels/cpu/bfloat16_operations.h"

#include <algorithm>
#include <cassert>
#include <utility>
#include <vector>

#include "kernels/cpu/elementwise.h"

namespace thinwire::cpu {
namespace {

constexpr int64_t kAlignment = 32;  // of a copy, in elements: 128 bytes

/// The same shape for the operation that does the work.
template <typename Shape>
Shape InFloat32(Shape shape) {
  shape.type = DataType::kFloat32;
  return shape;
}

/// The operands of one call, in float32: inputs are widened, and outputs rounded at the end of this
/// object's life. What is not bfloat16, or absent, is left as it is.
class Operands {
 public:
  explicit Operands(const Float32Scratch& scratch) : memory_(scratch.memory()) {}
  ~Operands() {
    for (const auto& [copy, view] : outputs_) Convert(copy, view);
  }
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  ConstView In(ConstView view) {
    if (view.type != DataType::kBFloat16 || !view) return view;
    const View copy = Take(view.size);
    Convert(view, copy);
    return copy;
  }
  View Out(View view) {
    if (view.type != DataType::kBFloat16 || !view) return view;
    const View copy = Take(view.size);
    outputs_.emplace_back(copy, view);
    return copy;
  }

 private:
  View Take(int64_t size) {
    assert(used_ + size <= memory_.size);
    const View copy = memory_.Slice(used_, size);
    used_ += (size + kAlignment - 1) / kAlignment * kAlignment;
    return copy;
  }

  const View memory_;
  int64_t used_ = 0;
  std::vector<std::pair<View, View>> outputs_;
};

class BFloat16Convolution : public Convolution {
 public:
  BFloat16Convolution(Float32Scratch& scratch, const ConvolutionShape& s)
      : scratch_(scratch), operation_(scratch.device().MakeConvolution(InFloat32(s))) {
    scratch.Reserve(s.input_size() + s.filter_size() + s.out_channels + s.output_size(), 4);
  }

  void Forward(ConstView input, ConstView filter, ConstView bias, View output) override {
    Operands of(scratch_);
    operation_->Forward(of.In(input), of.In(filter), of.In(bias), of.Out(output));
  }
  void BackwardData(ConstView output_gradient, ConstView filter, View input_gradient) override {
    Operands of(scratch_);
    operation_->BackwardData(of.In(output_gradient), of.In(filter), of.Out(input_gradient));
  }
  void BackwardWeights(ConstView input, ConstView output_gradient, View filter_gradient,
                       View bias_gradient) override {
    Operands of(scratch_);
    operation_->BackwardWeights(of.In(input), of.In(output_gradient), filter_gradient,
                                bias_gradient);
  }
  const char* algorithm(int direction) const override { return operation_->algorithm(direction); }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<Convolution> operation_;
};

class BFloat16Linear : public Linear {
 public:
  BFloat16Linear(Float32Scratch& scratch, const LinearShape& s)
      : scratch_(scratch), operation_(scratch.device().MakeLinear(InFloat32(s))) {
    scratch.Reserve(
        s.batch * (s.in_features + s.out_features) + s.out_features * (s.in_features + 1), 4);
  }

  void Forward(ConstView input, ConstView weight, ConstView bias, View output) override {
    Operands of(scratch_);
    operation_->Forward(of.In(input), of.In(weight), of.In(bias), of.Out(output));
  }
  void BackwardData(ConstView output_gradient, ConstView weight, View input_gradient) override {
    Operands of(scratch_);
    operation_->BackwardData(of.In(output_gradient), of.In(weight), of.Out(input_gradient));
  }
  void BackwardWeights(ConstView input, ConstView output_gradient, View weight_gradient,
                       View bias_gradient) override {
    Operands of(scratch_);
    operation_->BackwardWeights(of.In(input), of.In(output_gradient), weight_gradient,
                                bias_gradient);
  }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<Linear> operation_;
};

class BFloat16BatchNorm : public BatchNorm {
 public:
  BFloat16BatchNorm(Float32Scratch& scratch, const BatchNormShape& s)
      : scratch_(scratch), operation_(scratch.device().MakeBatchNorm(InFloat32(s))) {
    constexpr int64_t most = 7;  // those of Backward
    scratch.Reserve(most * s.rows * s.channels, most);
  }

  void ForwardTraining(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                       View running_mean, View running_variance, View saved_mean,
                       View saved_inverse_deviation, View y) override {
    Operands of(scratch_);
    operation_->ForwardTraining(of.In(x), of.In(residual), scale, shift, running_mean,
                                running_variance, saved_mean, saved_inverse_deviation, of.Out(y));
  }
  void ForwardInference(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                        ConstView running_mean, ConstView running_variance, View y) override {
    Operands of(scratch_);
    operation_->ForwardInference(of.In(x), of.In(residual), scale, shift, running_mean,
                                 running_variance, of.Out(y));
  }
  void Backward(ConstView x, ConstView y, ConstView y_gradient, ConstView y_gradient2,
                ConstView scale, ConstView shift, ConstView saved_mean,
                ConstView saved_inverse_deviation, ConstView x_gradient_addend, View x_gradient,
                View residual_gradient, View scale_gradient, View shift_gradient) override {
    Operands of(scratch_);
    operation_->Backward(of.In(x), of.In(y), of.In(y_gradient), of.In(y_gradient2), scale, shift,
                         saved_mean, saved_inverse_deviation, of.In(x_gradient_addend),
                         of.Out(x_gradient), of.Out(residual_gradient), scale_gradient,
                         shift_gradient);
  }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<BatchNorm> operation_;
};

class BFloat16Pooling : public Pooling {
 public:
  BFloat16Pooling(Float32Scratch& scratch, const PoolingShape& s)
      : scratch_(scratch), operation_(scratch.device().MakePooling(InFloat32(s))) {
    scratch.Reserve(s.batch * s.channels * (s.height * s.width + s.out_height() * s.out_width()),
                    2);
  }

  int64_t saved_bytes() const override { return operation_->saved_bytes(); }
  void Forward(ConstView x, View y, View saved) override {
    Operands of(scratch_);
    operation_->Forward(of.In(x), of.Out(y), saved);
  }
  void Backward(ConstView y_gradient, ConstView saved, View x_gradient) override {
    Operands of(scratch_);
    operation_->Backward(of.In(y_gradient), saved, of.Out(x_gradient));
  }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<Pooling> operation_;
};

class BFloat16GlobalAveragePooling : public GlobalAveragePooling {
 public:
  BFloat16GlobalAveragePooling(Float32Scratch& scratch, const GlobalAveragePoolingShape& s)
      : scratch_(scratch), operation_(scratch.device().MakeGlobalAveragePooling(InFloat32(s))) {
    scratch.Reserve(s.batch * s.channels * (s.pixels + 1), 2);
  }

  void Forward(ConstView x, View y) override {
    Operands of(scratch_);
    operation_->Forward(of.In(x), of.Out(y));
  }
  void Backward(ConstView y_gradient, View x_gradient) override {
    Operands of(scratch_);
    operation_->Backward(of.In(y_gradient), of.Out(x_gradient));
  }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<GlobalAveragePooling> operation_;
};

class BFloat16PadShortcut : public PadShortcut {
 public:
  BFloat16PadShortcut(Float32Scratch& scratch, const PadShortcutShape& s)
      : scratch_(scratch), operation_(scratch.device().MakePadShortcut(InFloat32(s))) {
    scratch.Reserve(s.batch * (s.height * s.width * s.channels +
                               s.out_height() * s.out_width() * s.out_channels),
                    2);
  }

  void Forward(ConstView x, View y) override {
    Operands of(scratch_);
    operation_->Forward(of.In(x), of.Out(y));
  }
  void Backward(ConstView y_gradient, View x_gradient) override {
    Operands of(scratch_);
    operation_->Backward(of.In(y_gradient), of.Out(x_gradient));
  }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<PadShortcut> operation_;
};

class BFloat16Loss : public Loss {
 public:
  BFloat16Loss(Float32Scratch& scratch, const LossShape& s)
      : scratch_(scratch), operation_(scratch.device().MakeLoss(InFloat32(s))) {
    scratch.Reserve(2 * s.batch * s.classes, 2);
  }

  void Run(ConstView logits, ConstView labels, float own_label, float gradient_scale,
           View logits_gradient) override {
    Operands of(scratch_);
    operation_->Run(of.In(logits), labels, own_label, gradient_scale, of.Out(logits_gradient));
  }
  std::vector<LossResult> ReadResults(int64_t count) override {
    return operation_->ReadResults(count);
  }

 private:
  Float32Scratch& scratch_;
  std::unique_ptr<Loss> operation_;
};

}  // namespace

void Float32Scratch::Reserve(int64_t elements, int64_t operands) {
  const int64_t bytes = (elements + operands * kAlignment) * SizeOf(DataType::kFloat32);
  if (bytes <= memory_.bytes()) return;
  const MemoryScope scope(device_, MemoryUse::kWorkspace);
  memory_ = Buffer();
  memory_ = device_.Allocate(bytes);
}

std::unique_ptr<Convolution> MakeBFloat16Convolution(Float32Scratch& scratch,
                                                     const ConvolutionShape& shape) {
  return std::make_unique<BFloat16Convolution>(scratch, shape);
}

std::unique_ptr<Linear> MakeBFloat16Linear(Float32Scratch& scratch, const LinearShape& shape) {
  return std::make_unique<BFloat16Linear>(scratch, shape);
}

std::unique_ptr<BatchNorm> MakeBFloat16BatchNorm(Float32Scratch& scratch,
                                                 const BatchNormShape& shape) {
  return std::make_unique<BFloat16BatchNorm>(scratch, shape);
}

std::unique_ptr<Pooling> MakeBFloat16Pooling(Float32Scratch& scratch, const PoolingShape& shape) {
  return std::make_unique<BFloat16Pooling>(scratch, shape);
}

std::unique_ptr<GlobalAveragePooling> MakeBFloat16GlobalAveragePooling(
    Float32Scratch& scratch, const GlobalAveragePoolingShape& shape) {
  return std::make_unique<BFloat16GlobalAveragePooling>(scratch, shape);
}

std::unique_ptr<PadShortcut> MakeBFloat16PadShortcut(Float32Scratch& scratch,
                                                     const PadShortcutShape& shape) {
  return std::make_unique<BFloat16PadShortcut>(scratch, shape);
}

std::unique_ptr<Loss> MakeBFloat16Loss(Float32Scratch& scratch, const LossShape& shape) {
  return std::make_unique<BFloat16Loss>(scratch, shape);
}

}  // namespace thinwire::cpu
