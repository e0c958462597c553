// Mean over all pixels: an image becomes a vector.
#pragma once

#include "layers/layer.h"

namespace thinwire {

class GlobalAveragePoolingLayer : public Layer {
 public:
  GlobalAveragePoolingLayer(std::string name, int input, const ImageShape& input_shape);

  std::string description() const override { return "global average pooling"; }
  int64_t forward_flops() const override { return input_shape_.size(); }
  MemoryTraits memory_traits(bool) const override { return {}; }
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  ImageShape input_shape_;
};

}  // namespace thinwire
