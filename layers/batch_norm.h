// Batch normalisation with an optional fused residual add and ReLU.
#pragma once

#include <optional>

#include "layers/layer.h"

namespace thinwire {

class BatchNormLayer : public Layer {
 public:
  struct Settings {
    bool relu = false;
    float epsilon = 1e-5f;
    float momentum = 0.1f;
    bool ends_residual_branch = false;
  };

  /// @param residual The value, of the input's shape, that is added before the ReLU.
  BatchNormLayer(std::string name, int input, std::optional<int> residual, const ImageShape& shape,
                 const Settings& settings);

  /// For one image: rows are its pixels.
  const BatchNormShape& shape() const { return shape_; }

  std::string description() const override;
  std::vector<LayerTensor> tensors() const override;
  /// Two operations an element (the inference form), one more each for residual and ReLU.
  int64_t forward_flops() const override;
  MemoryTraits memory_traits(bool training) const override;
  int64_t saved_bytes(int64_t batch) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  BatchNormShape shape_;
  bool ends_residual_branch_;
};

}  // namespace thinwire
