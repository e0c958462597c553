#include "layers/pooling.h"

#include <fmt/core.h>

#include "kernels/error.h"

namespace thinwire {
namespace {

PoolingShape MakeShape(const std::string& name, const ImageShape& input, PoolingShape::Kind kind,
                       const PoolingOptions& options) {
  const auto& [window, stride, padding] = options;
  if (window < 1 || stride < 1 || padding < 0 || 2 * padding > window) {
    throw Error(fmt::format("pooling {}: window {}, stride {}, padding {} make no pooling", name,
                            window, stride, padding),
                "padding may be at most half of the window", Error::Kind::kUsage);
  }
  if (input.height + 2 * padding < window || input.width + 2 * padding < window) {
    throw Error(fmt::format("pooling {}: its input, {}, is smaller than its {}x{} window", name,
                            FormatShape(input), window, window),
                "use larger images or another model", Error::Kind::kUsage);
  }
  return {.kind = kind,
          .batch = 1,
          .height = input.height,
          .width = input.width,
          .channels = input.channels,
          .window_height = window,
          .window_width = window,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding};
}

class PlannedPooling : public PlannedLayer {
 public:
  explicit PlannedPooling(std::unique_ptr<Pooling> operation) : operation_(std::move(operation)) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    operation_->Forward(operands.inputs[0], operands.output, operands.saved);
  }

  void Backward(const BackwardOperands& operands, const Pass&) override {
    operation_->Backward(operands.output_gradient, operands.saved, operands.input_gradients[0]);
  }

 private:
  std::unique_ptr<Pooling> operation_;
};

}  // namespace

PoolingLayer::PoolingLayer(std::string name, int input, const ImageShape& input_shape,
                           PoolingShape::Kind kind, const PoolingOptions& options)
    : Layer(name, {input},
            [&]() -> ImageShape {
              const PoolingShape shape = MakeShape(name, input_shape, kind, options);
              return {shape.out_height(), shape.out_width(), shape.channels};
            }()),
      shape_(MakeShape(name, input_shape, kind, options)) {}

std::string PoolingLayer::description() const {
  return fmt::format("{} pooling {}x{}, stride {}",
                     shape_.kind == PoolingShape::Kind::kMax ? "max" : "average",
                     shape_.window_height, shape_.window_width, shape_.stride_height);
}

int64_t PoolingLayer::forward_flops() const {
  return output_shape().size() * shape_.window_height * shape_.window_width;
}

MemoryTraits PoolingLayer::memory_traits(bool) const { return {}; }

int64_t PoolingLayer::saved_bytes(int64_t batch) const {
  // The position of each maximum in its window.
  return shape_.kind == PoolingShape::Kind::kMax ? batch * output_shape().size() : 0;
}

std::unique_ptr<PlannedLayer> PoolingLayer::Plan(const PlanningContext& context) const {
  PoolingShape shape = shape_;
  shape.batch = context.batch;
  shape.type = context.activations;
  auto operation = context.device().MakePooling(shape);
  if (operation->saved_bytes() > saved_bytes(context.batch)) {
    throw Error(fmt::format("pooling {}: the device saves {} bytes, {} were planned", name(),
                            operation->saved_bytes(), saved_bytes(context.batch)),
                "use a smaller window");
  }
  return std::make_unique<PlannedPooling>(std::move(operation));
}

}  // namespace thinwire
