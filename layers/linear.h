// Fully connected layer.
#pragma once

#include "layers/layer.h"

namespace thinwire {

struct LinearOptions {
  int64_t out_features = 0;
  bool bias = true;
};

class LinearLayer : public Layer {
 public:
  /// @param flattened_from The image whose pixels the input's features were, or one pixel.
  /// @throws Error if the input is not a vector.
  LinearLayer(std::string name, int input, const ImageShape& input_shape,
              const ImageShape& flattened_from, const LinearOptions& options);

  /// For one image: batch is 1.
  const LinearShape& shape() const { return shape_; }

  std::string description() const override { return "linear"; }
  /// Weight and bias: uniform in ±1/sqrt(in_features), as PyTorch's default.
  std::vector<LayerTensor> tensors() const override;
  int64_t forward_flops() const override;
  MemoryTraits memory_traits(bool training) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  TensorSpec weight() const;
  TensorSpec bias() const;

  LinearShape shape_;
  ImageShape flattened_from_;
};

}  // namespace thinwire
