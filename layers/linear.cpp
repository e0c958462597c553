#include "layers/linear.h"

#include <fmt/core.h>

#include <cmath>

#include "kernels/error.h"

namespace thinwire {
namespace {

class PlannedLinear : public PlannedLayer {
 public:
  PlannedLinear(std::unique_ptr<Linear> operation, View weight, View weight_gradient, View bias,
                View bias_gradient)
      : operation_(std::move(operation)),
        weight_(weight),
        weight_gradient_(weight_gradient),
        bias_(bias),
        bias_gradient_(bias_gradient) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    operation_->Forward(operands.inputs[0], weight_, bias_, operands.output);
  }

  void Backward(const BackwardOperands& operands, const Pass&) override {
    operation_->BackwardWeights(operands.input, operands.output_gradient, weight_gradient_,
                                bias_gradient_);
    if (operands.input_gradients[0]) {
      operation_->BackwardData(operands.output_gradient, weight_, operands.input_gradients[0]);
    }
  }

 private:
  std::unique_ptr<Linear> operation_;
  View weight_, weight_gradient_, bias_, bias_gradient_;
};

}  // namespace

LinearLayer::LinearLayer(std::string name, int input, const ImageShape& input_shape,
                         const ImageShape& flattened_from, const LinearOptions& options)
    : Layer(name, {input}, {1, 1, options.out_features}),
      shape_{.batch = 1,
             .in_features = input_shape.channels,
             .out_features = options.out_features,
             .bias = options.bias},
      flattened_from_(flattened_from) {
  if (input_shape.height != 1 || input_shape.width != 1) {
    throw Error(
        fmt::format("linear layer {}: its input is an image, {}", name, FormatShape(input_shape)),
        "flatten or average it first");
  }
  if (options.out_features < 1) {
    throw Error(
        fmt::format("linear layer {}: it cannot have {} outputs", name, options.out_features),
        "give at least 1", Error::Kind::kUsage);
  }
}

TensorSpec LinearLayer::weight() const {
  TensorSpec spec{
      name() + ".weight", TensorRole::kLinearWeight, {shape_.out_features, shape_.in_features}, {}};
  if (flattened_from_.height * flattened_from_.width > 1) {
    spec.flattened_from = {flattened_from_.height, flattened_from_.width, flattened_from_.channels};
  }
  return spec;
}

TensorSpec LinearLayer::bias() const {
  return {name() + ".bias", TensorRole::kBias, {shape_.out_features}, {}};
}

std::vector<LayerTensor> LinearLayer::tensors() const {
  const InitialValue initial{InitialValue::Kind::kUniform,
                             1 / std::sqrt(static_cast<double>(shape_.in_features))};
  std::vector<LayerTensor> tensors = {{weight(), initial}};
  if (shape_.bias) tensors.push_back({bias(), initial});
  return tensors;
}

int64_t LinearLayer::forward_flops() const {
  return shape_.out_features * (2 * shape_.in_features + (shape_.bias ? 1 : 0));
}

MemoryTraits LinearLayer::memory_traits(bool) const { return {.backward_reads_input = true}; }

std::unique_ptr<PlannedLayer> LinearLayer::Plan(const PlanningContext& context) const {
  LinearShape shape = shape_;
  shape.batch = context.batch;
  shape.gradients = context.gradients;
  shape.type = context.activations;
  const ParameterArena& arena = context.arena;
  return std::make_unique<PlannedLinear>(
      context.device().MakeLinear(shape), TensorValue(arena, weight(), shape.type),
      arena.gradient(weight().name), shape.bias ? TensorValue(arena, bias(), shape.type) : View{},
      shape.bias ? arena.gradient(bias().name) : View{});
}

}  // namespace thinwire
