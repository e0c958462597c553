// A model as a list of layers, before it has a device, a batch size or memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/parameter_arena.h"
#include "layers/convolution.h"
#include "layers/layer.h"
#include "layers/linear.h"
#include "layers/pad_shortcut.h"
#include "layers/pooling.h"

namespace thinwire {

/// What a layer yields: value 0 is the input image, value i + 1 the output of layer i.
struct Value {
  int index = 0;
};

struct BatchNormOptions {
  bool relu = false;
  /// Added before the ReLU. The batch norm then counts as the end of a residual branch.
  std::optional<Value> residual = std::nullopt;
  float epsilon = 1e-5f;
  float momentum = 0.1f;
};

/// Layers in the order in which they run. The last layer yields the logits. A model file reads
/// like the paper's table:
///
///     LayerGraph graph("resnet18_cifar", {32, 32, 3}, 10);
///     Value x = graph.Convolution("conv1", graph.image(), {.out_channels = 64, .kernel = 3,
///                                                          .padding = 1});
///     x = graph.BatchNorm("bn1", x, {.relu = true});
///
/// All builders throw Error if the options do not fit the input's shape. Copies are cheap: they
/// share the layers.
class LayerGraph {
 public:
  LayerGraph(std::string name, const ImageShape& image, int64_t classes);

  /// The input image.
  Value image() const { return {0}; }

  Value Convolution(const std::string& name, Value x, const ConvolutionOptions& options);
  Value BatchNorm(const std::string& name, Value x, const BatchNormOptions& options = {});
  Value Linear(const std::string& name, Value x, const LinearOptions& options);
  Value Relu(const std::string& name, Value x);
  Value MaxPool(const std::string& name, Value x, const PoolingOptions& options = {});
  Value AveragePool(const std::string& name, Value x, const PoolingOptions& options = {});
  Value GlobalAveragePool(const std::string& name, Value x);
  Value PadShortcut(const std::string& name, Value x, const PadShortcutOptions& options);
  Value Add(const std::string& name, Value a, Value b);
  /// A rate of 0 adds no layer.
  Value Dropout(const std::string& name, Value x, double rate);
  Value Flatten(const std::string& name, Value x);

  const std::string& name() const { return name_; }
  int64_t classes() const { return classes_; }
  const std::vector<std::shared_ptr<const Layer>>& layers() const { return layers_; }
  const ImageShape& image_shape() const { return image_; }
  const ImageShape& shape(Value value) const;

  /// All tensors in the model's order, for a ParameterArena.
  std::vector<TensorSpec> tensor_specs() const;
  /// Trainable parameters.
  int64_t parameter_count() const;
  /// Floating-point operations of the forward pass of one image; a multiply-add counts as 2.
  int64_t forward_flops() const;

  /// @throws Error if the graph is not a classifier: it has no layer, does not end in
  ///     [classes] logits, or the output of a layer is never used.
  void CheckComplete() const;

 private:
  Value Append(std::shared_ptr<const Layer> layer, const ImageShape& flattened_from = {});
  /// As above, for layers that keep their first input's shape and meaning.
  Value AppendElementwise(std::shared_ptr<const Layer> layer);

  std::string name_;
  ImageShape image_;
  int64_t classes_;
  std::vector<std::shared_ptr<const Layer>> layers_;
  std::vector<ImageShape> flattened_from_;  // of each value; one pixel: it is no flattened image
};

}  // namespace thinwire
