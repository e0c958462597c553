#include "layers/global_average_pooling.h"

namespace thinwire {
namespace {

class PlannedGlobalAveragePooling : public PlannedLayer {
 public:
  explicit PlannedGlobalAveragePooling(std::unique_ptr<GlobalAveragePooling> operation)
      : operation_(std::move(operation)) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    operation_->Forward(operands.inputs[0], operands.output);
  }

  void Backward(const BackwardOperands& operands, const Pass&) override {
    operation_->Backward(operands.output_gradient, operands.input_gradients[0]);
  }

 private:
  std::unique_ptr<GlobalAveragePooling> operation_;
};

}  // namespace

GlobalAveragePoolingLayer::GlobalAveragePoolingLayer(std::string name, int input,
                                                     const ImageShape& input_shape)
    : Layer(std::move(name), {input}, {1, 1, input_shape.channels}), input_shape_(input_shape) {}

std::unique_ptr<PlannedLayer> GlobalAveragePoolingLayer::Plan(
    const PlanningContext& context) const {
  return std::make_unique<PlannedGlobalAveragePooling>(
      context.device().MakeGlobalAveragePooling({.batch = context.batch,
                                                 .pixels = input_shape_.height * input_shape_.width,
                                                 .channels = input_shape_.channels,
                                                 .type = context.activations}));
}

}  // namespace thinwire
