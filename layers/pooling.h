// Max and average pooling over windows.
#pragma once

#include "layers/layer.h"

namespace thinwire {

/// A square window. An average divides by the window's full area.
struct PoolingOptions {
  int64_t window = 2;
  int64_t stride = 2;
  int64_t padding = 0;
};

class PoolingLayer : public Layer {
 public:
  /// @throws Error if the options do not fit the input's shape.
  PoolingLayer(std::string name, int input, const ImageShape& input_shape, PoolingShape::Kind kind,
               const PoolingOptions& options);

  /// For one image: batch is 1.
  const PoolingShape& shape() const { return shape_; }

  std::string description() const override;
  int64_t forward_flops() const override;
  MemoryTraits memory_traits(bool training) const override;
  int64_t saved_bytes(int64_t batch) const override;
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  PoolingShape shape_;
};

}  // namespace thinwire
