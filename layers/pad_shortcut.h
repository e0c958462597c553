// He et al.'s parameter-free shortcut: subsampled pixels, zero channels on both sides.
#pragma once

#include "layers/layer.h"

namespace thinwire {

struct PadShortcutOptions {
  int64_t out_channels = 0;
  int64_t stride = 2;
};

class PadShortcutLayer : public Layer {
 public:
  /// @throws Error if there would be fewer channels than before.
  PadShortcutLayer(std::string name, int input, const ImageShape& input_shape,
                   const PadShortcutOptions& options);

  /// For one image: batch is 1.
  const PadShortcutShape& shape() const { return shape_; }

  std::string description() const override;
  int64_t forward_flops() const override { return 0; }
  MemoryTraits memory_traits(bool) const override { return {}; }
  std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const override;

 private:
  PadShortcutShape shape_;
};

}  // namespace thinwire
