// Layers without a planned operation: ReLU, sum, dropout and flatten.
#pragma once

#include "layers/layer.h"

namespace thinwire {

class ReluLayer : public Layer {
 public:
  using Layer::Layer;

  std::string description() const override { return "ReLU"; }
  int64_t forward_flops() const override { return output_shape().size(); }
  MemoryTraits memory_traits(bool training) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;
};

/// The sum of two values. Its backward pass is free: both inputs have the output's gradient.
class AddLayer : public Layer {
 public:
  using Layer::Layer;

  std::string description() const override { return "add"; }
  int64_t forward_flops() const override { return output_shape().size(); }
  MemoryTraits memory_traits(bool training) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;
};

class DropoutLayer : public Layer {
 public:
  /// @throws Error if the rate is not in [0, 1).
  DropoutLayer(std::string name, int input, const ImageShape& shape, float rate);

  float rate() const { return rate_; }

  std::string description() const override;
  int64_t forward_flops() const override { return 0; }
  MemoryTraits memory_traits(bool training) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  float rate_;
};

/// An image as a vector, in the order of its memory [height, width, channels].
class FlattenLayer : public Layer {
 public:
  FlattenLayer(std::string name, int input, const ImageShape& input_shape)
      : Layer(std::move(name), {input}, {1, 1, input_shape.size()}) {}

  std::string description() const override { return "flatten"; }
  int64_t forward_flops() const override { return 0; }
  MemoryTraits memory_traits(bool training) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;
};

}  // namespace thinwire
