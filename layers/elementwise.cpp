#include "layers/elementwise.h"

#include <fmt/core.h>

#include "kernels/error.h"
#include "layers/name_hash.h"

namespace thinwire {
namespace {

class PlannedRelu : public PlannedLayer {
 public:
  explicit PlannedRelu(Device& device) : device_(device) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    device_.Relu(operands.inputs[0], operands.output);
  }
  void Backward(const BackwardOperands& operands, const Pass&) override {
    device_.ReluBackward(operands.output, operands.output_gradient, operands.input_gradients[0]);
  }

 private:
  Device& device_;
};

class PlannedAdd : public PlannedLayer {
 public:
  explicit PlannedAdd(Device& device) : device_(device) {}

  void Forward(const ForwardOperands& operands, const Pass&) override {
    device_.Add(operands.inputs[0], operands.inputs[1], /*relu=*/false, operands.output);
  }
  void Backward(const BackwardOperands&, const Pass&) override {}

 private:
  Device& device_;
};

class PlannedDropout : public PlannedLayer {
 public:
  PlannedDropout(Device& device, float rate, uint64_t seed)
      : device_(device), rate_(rate), seed_(seed) {}

  void Forward(const ForwardOperands& operands, const Pass& pass) override {
    if (pass.training) {
      device_.Dropout(operands.inputs[0], rate_, seed_, pass.step, operands.output);
    } else if (operands.inputs[0].data != operands.output.data) {
      device_.Copy(operands.inputs[0], operands.output);
    }
  }
  void Backward(const BackwardOperands& operands, const Pass& pass) override {
    device_.Dropout(operands.output_gradient, rate_, seed_, pass.step, operands.input_gradients[0]);
  }

 private:
  Device& device_;
  float rate_;
  uint64_t seed_;
};

class PlannedFlatten : public PlannedLayer {
 public:
  void Forward(const ForwardOperands&, const Pass&) override {}
  void Backward(const BackwardOperands&, const Pass&) override {}
};

}  // namespace

MemoryTraits ReluLayer::memory_traits(bool) const {
  return {.forward_in_place = true, .backward_in_place = true, .backward_reads_output = true};
}

std::unique_ptr<PlannedLayer> ReluLayer::Plan(const PlanningContext& context) const {
  return std::make_unique<PlannedRelu>(context.device());
}

MemoryTraits AddLayer::memory_traits(bool) const {
  return {.forward_in_place = true, .backward_passes_through = true};
}

std::unique_ptr<PlannedLayer> AddLayer::Plan(const PlanningContext& context) const {
  return std::make_unique<PlannedAdd>(context.device());
}

DropoutLayer::DropoutLayer(std::string name, int input, const ImageShape& shape, float rate)
    : Layer(std::move(name), {input}, shape), rate_(rate) {
  if (!(rate >= 0 && rate < 1)) {
    throw Error(fmt::format("dropout {}: the rate {} is out of range", this->name(), rate),
                "give a rate of at least 0 and below 1", Error::Kind::kUsage);
  }
}

std::string DropoutLayer::description() const { return fmt::format("dropout {}", rate_); }

MemoryTraits DropoutLayer::memory_traits(bool training) const {
  return {.forward_passes_through = !training, .forward_in_place = true, .backward_in_place = true};
}

std::unique_ptr<PlannedLayer> DropoutLayer::Plan(const PlanningContext& context) const {
  return std::make_unique<PlannedDropout>(context.device(), rate_, context.seed + HashName(name()));
}

MemoryTraits FlattenLayer::memory_traits(bool) const {
  return {.forward_passes_through = true, .backward_passes_through = true};
}

std::unique_ptr<PlannedLayer> FlattenLayer::Plan(const PlanningContext&) const {
  return std::make_unique<PlannedFlatten>();
}

}  // namespace thinwire
