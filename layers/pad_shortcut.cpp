#include "layers/pad_shortcut.h"

#include <fmt/core.h>

#include "kernels/error.h"

namespace thinwire {
namespace {

PadShortcutShape MakeShape(const std::string& name, const ImageShape& input,
                           const PadShortcutOptions& options) {
  if (options.stride < 1 || options.out_channels < input.channels) {
    throw Error(fmt::format("shortcut {}: {} -> {} channels with stride {} make no padding", name,
                            input.channels, options.out_channels, options.stride),
                "use a 1x1 convolution", Error::Kind::kUsage);
  }
  return {.batch = 1,
          .height = input.height,
          .width = input.width,
          .channels = input.channels,
          .out_channels = options.out_channels,
          .stride = options.stride};
}

ImageShape OutputShape(const PadShortcutShape& shape) {
  return {shape.out_height(), shape.out_width(), shape.out_channels};
}

class PlannedPadShortcut : public PlannedLayer {
 public:
  explicit PlannedPadShortcut(std::unique_ptr<PadShortcut> operation)
      : operation_(std::move(operation)) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    operation_->Forward(operands.inputs[0], operands.output);
  }

  void Backward(const BackwardOperands& operands, const Pass&) override {
    operation_->Backward(operands.output_gradient, operands.input_gradients[0]);
  }

 private:
  std::unique_ptr<PadShortcut> operation_;
};

}  // namespace

PadShortcutLayer::PadShortcutLayer(std::string name, int input, const ImageShape& input_shape,
                                   const PadShortcutOptions& options)
    : Layer(name, {input}, OutputShape(MakeShape(name, input_shape, options))),
      shape_(MakeShape(name, input_shape, options)) {}

std::string PadShortcutLayer::description() const {
  return fmt::format("zero-padded shortcut, stride {}", shape_.stride);
}

std::unique_ptr<PlannedLayer> PadShortcutLayer::Plan(const PlanningContext& context) const {
  PadShortcutShape shape = shape_;
  shape.batch = context.batch;
  shape.type = context.activations;
  return std::make_unique<PlannedPadShortcut>(context.device().MakePadShortcut(shape));
}

}  // namespace thinwire
