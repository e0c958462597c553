// 2-D convolution.
#pragma once

#include "layers/layer.h"

namespace thinwire {

/// A square kernel with equal stride and zero padding in both directions.
struct ConvolutionOptions {
  int64_t out_channels = 0;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t padding = 0;
  int64_t groups = 1;
  bool bias = false;
  bool zero_initial_bias = false;  // false: uniform, as PyTorch's default
};

class ConvolutionLayer : public Layer {
 public:
  /// @throws Error if the options do not fit the input's shape.
  ConvolutionLayer(std::string name, int input, const ImageShape& input_shape,
                   const ConvolutionOptions& options);

  /// For one image: batch is 1.
  const ConvolutionShape& shape() const { return shape_; }

  std::string description() const override;
  /// Filter: Kaiming normal over the fan-out with ReLU's gain.
  std::vector<LayerTensor> tensors() const override;
  int64_t forward_flops() const override;
  MemoryTraits memory_traits(bool training) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  TensorSpec filter() const;
  TensorSpec bias() const;

  ConvolutionShape shape_;
  bool zero_initial_bias_;
};

}  // namespace thinwire
