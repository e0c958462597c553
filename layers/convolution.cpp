#include "layers/convolution.h"

#include <fmt/core.h>

#include <cmath>

#include "kernels/error.h"

namespace thinwire {
namespace {

ConvolutionShape MakeShape(const std::string& name, const ImageShape& input,
                           const ConvolutionOptions& options) {
  const auto& [out_channels, kernel, stride, padding, groups, bias, zero_initial_bias] = options;
  if (out_channels < 1 || kernel < 1 || stride < 1 || padding < 0 || groups < 1 ||
      input.channels % groups != 0 || out_channels % groups != 0) {
    throw Error(fmt::format("convolution {}: {} -> {} channels, kernel {}, stride {}, padding {}, "
                            "{} groups make no convolution",
                            name, input.channels, out_channels, kernel, stride, padding, groups),
                "sizes must be positive and both channel counts divisible by the groups",
                Error::Kind::kUsage);
  }
  if (input.height + 2 * padding < kernel || input.width + 2 * padding < kernel) {
    throw Error(fmt::format("convolution {}: its input, {}, is smaller than its {}x{} kernel", name,
                            FormatShape(input), kernel, kernel),
                "use larger images or another model", Error::Kind::kUsage);
  }
  return {.batch = 1,
          .height = input.height,
          .width = input.width,
          .in_channels = input.channels,
          .out_channels = out_channels,
          .kernel_height = kernel,
          .kernel_width = kernel,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding,
          .groups = groups,
          .bias = bias};
}

ImageShape OutputShape(const ConvolutionShape& shape) {
  return {shape.out_height(), shape.out_width(), shape.out_channels};
}

class PlannedConvolution : public PlannedLayer {
 public:
  PlannedConvolution(std::unique_ptr<Convolution> operation, View filter, View filter_gradient,
                     View bias, View bias_gradient)
      : operation_(std::move(operation)),
        filter_(filter),
        filter_gradient_(filter_gradient),
        bias_(bias),
        bias_gradient_(bias_gradient) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    operation_->Forward(operands.inputs[0], filter_, bias_, operands.output);
  }

  void Backward(const BackwardOperands& operands, const Pass&) override {
    operation_->BackwardWeights(operands.input, operands.output_gradient, filter_gradient_,
                                bias_gradient_);
    if (operands.input_gradients[0]) {
      operation_->BackwardData(operands.output_gradient, filter_, operands.input_gradients[0]);
    }
  }

 private:
  std::unique_ptr<Convolution> operation_;
  View filter_, filter_gradient_, bias_, bias_gradient_;
};

}  // namespace

ConvolutionLayer::ConvolutionLayer(std::string name, int input, const ImageShape& input_shape,
                                   const ConvolutionOptions& options)
    : Layer(name, {input}, OutputShape(MakeShape(name, input_shape, options))),
      shape_(MakeShape(name, input_shape, options)),
      zero_initial_bias_(options.zero_initial_bias) {}

std::string ConvolutionLayer::description() const {
  std::string text = fmt::format("convolution {}x{}", shape_.kernel_height, shape_.kernel_width);
  if (shape_.stride_height != 1) text += fmt::format(", stride {}", shape_.stride_height);
  if (shape_.groups != 1) text += fmt::format(", {} groups", shape_.groups);
  return text;
}

TensorSpec ConvolutionLayer::filter() const {
  return {name() + ".weight",
          TensorRole::kConvolutionFilter,
          {shape_.out_channels, shape_.kernel_height, shape_.kernel_width,
           shape_.in_channels / shape_.groups},
          {}};
}

TensorSpec ConvolutionLayer::bias() const {
  return {name() + ".bias", TensorRole::kBias, {shape_.out_channels}, {}};
}

std::vector<LayerTensor> ConvolutionLayer::tensors() const {
  const auto area = static_cast<double>(shape_.kernel_height * shape_.kernel_width);
  const double fan_in = area * static_cast<double>(shape_.in_channels / shape_.groups);
  const double fan_out = area * static_cast<double>(shape_.out_channels);
  std::vector<LayerTensor> tensors = {
      {filter(), {InitialValue::Kind::kNormal, std::sqrt(2 / fan_out)}}};
  if (shape_.bias) {
    InitialValue initial{InitialValue::Kind::kUniform, 1 / std::sqrt(fan_in)};
    if (zero_initial_bias_) initial = {};
    tensors.push_back({bias(), initial});
  }
  return tensors;
}

int64_t ConvolutionLayer::forward_flops() const {
  const int64_t pixels = shape_.out_height() * shape_.out_width();
  return pixels * (2 * shape_.filter_size() + (shape_.bias ? shape_.out_channels : 0));
}

MemoryTraits ConvolutionLayer::memory_traits(bool) const { return {.backward_reads_input = true}; }

std::unique_ptr<PlannedLayer> ConvolutionLayer::Plan(const PlanningContext& context) const {
  ConvolutionShape shape = shape_;
  shape.batch = context.batch;
  shape.gradients = context.gradients;
  shape.type = context.activations;
  const ParameterArena& arena = context.arena;
  return std::make_unique<PlannedConvolution>(
      context.device().MakeConvolution(shape), TensorValue(arena, filter(), shape.type),
      arena.gradient(filter().name), shape.bias ? TensorValue(arena, bias(), shape.type) : View{},
      shape.bias ? arena.gradient(bias().name) : View{});
}

}  // namespace thinwire
