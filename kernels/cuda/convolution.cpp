#include "kernels/cuda/convolution.h"

#include <array>
#include <optional>

#include "kernels/cuda/bias.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/launch.h"
#include "kernels/trace_range.h"

namespace thinwire {
namespace {

using cuda::ConvolutionDirection;

class CudaConvolution : public Convolution {
 public:
  CudaConvolution(Device& device, const cuda::Queue& queue, const cuda::Cudnn& cudnn,
                  const ConvolutionShape& shape, const GpuOptions& options)
      : device_(device), queue_(queue), shape_(shape) {
    if (shape.batch > 0) {
      const auto plan = [&](ConvolutionDirection direction) {
        auto& planned = plans_[static_cast<size_t>(direction)];
        planned = cuda::PlanConvolution(cudnn, shape, direction,
                                        {.type = shape.type, .tf32 = options.tf32});
        device.ReserveWorkspace(planned->workspace_bytes());
      };
      plan(ConvolutionDirection::kForward);
      if (shape.gradients.data) plan(ConvolutionDirection::kData);
      if (shape.gradients.weights) plan(ConvolutionDirection::kWeights);
      if (shape.gradients.weights && shape.type == DataType::kBFloat16) {
        device.ReserveWorkspace(GradientOffset() + shape.filter_size() * SizeOf(shape.type));
      }
    }
    if (shape.bias && shape.gradients.weights) {
      bias_gradient_.emplace(device, queue, Rows(), shape.out_channels);
    }
  }

  void Forward(ConstView input, ConstView filter, ConstView bias, View output) override {
    if (shape_.batch == 0) return;
    Execute(ConvolutionDirection::kForward, input, filter, output);
    if (shape_.bias) cuda::AddBias(queue_, Rows(), bias, output);
  }

  void BackwardData(ConstView output_gradient, ConstView filter, View input_gradient) override {
    CheckDataGradient(shape_.gradients);
    if (shape_.batch == 0) return;
    Execute(ConvolutionDirection::kData, output_gradient, filter, input_gradient);
  }

  void BackwardWeights(ConstView input, ConstView output_gradient, View filter_gradient,
                       View bias_gradient) override {
    CheckWeightGradient(shape_.gradients);
    if (shape_.batch == 0) {
      device_.Zero(filter_gradient);
    } else {
      RunWeights(input, output_gradient, filter_gradient);
    }
    if (shape_.bias) bias_gradient_->Run(output_gradient, bias_gradient);
  }

  const char* algorithm(int direction) const override {
    const auto& plan = plans_.at(static_cast<size_t>(direction));
    return plan == nullptr ? "none" : plan->name().c_str();
  }

 private:
  int64_t Rows() const { return shape_.batch * shape_.out_height() * shape_.out_width(); }

  /// Bytes of workspace in front of a filter's gradient in bfloat16.
  int64_t GradientOffset() const {
    constexpr int64_t alignment = 256;
    const auto& plan = plans_[static_cast<size_t>(ConvolutionDirection::kWeights)];
    return (plan->workspace_bytes() + alignment - 1) / alignment * alignment;
  }

  /// cuDNN has no engine that makes a float32 gradient of bfloat16 operands: it is rounded to
  /// bfloat16, and widened in a pass of its own.
  void RunWeights(ConstView input, ConstView output_gradient, View filter_gradient) {
    if (shape_.type != DataType::kBFloat16) {
      return Execute(ConvolutionDirection::kWeights, input, output_gradient, filter_gradient);
    }
    const int64_t bytes = shape_.filter_size() * SizeOf(shape_.type);
    const View rounded{device_.workspace().Slice(GradientOffset(), bytes).data,
                       shape_.filter_size(), shape_.type};
    Execute(ConvolutionDirection::kWeights, input, output_gradient, rounded);
    cuda::Convert(queue_, rounded, filter_gradient);
  }

  void Execute(ConvolutionDirection direction, ConstView left, ConstView right, View result) {
    static constexpr const char* kNames[] = {"convolution_forward", "convolution_data",
                                             "convolution_weights"};
    const char* const name = kNames[static_cast<size_t>(direction)];
    const TraceRange range(TraceCategory::kKernel, name);
    cuda::ConvolutionPlan* const plan = plans_[static_cast<size_t>(direction)].get();
    void* const workspace = device_.workspace().data;
    const auto execute = [=] { plan->Execute(left.data, right.data, result.data, workspace); };
    cuda::Enqueue(queue_, execute, name, plan, left.data, right.data, result.data, workspace);
  }

  Device& device_;
  cuda::Queue queue_;
  ConvolutionShape shape_;
  std::array<std::unique_ptr<cuda::ConvolutionPlan>, 3> plans_;
  std::optional<cuda::BiasGradient> bias_gradient_;
};

}  // namespace

std::unique_ptr<Convolution> MakeCudaConvolution(Device& device, const cuda::Queue& queue,
                                                 const cuda::Cudnn& cudnn,
                                                 const ConvolutionShape& shape,
                                                 const GpuOptions& options) {
  CheckShape(shape);
  return std::make_unique<CudaConvolution>(device, queue, cudnn, shape, options);
}

}  // namespace thinwire
