#include <fmt/core.h>

#include "models/families.h"

namespace thinwire {
namespace {

/// Batch norm and ReLU come before each convolution; where the shape changes, the shortcut starts
/// behind the first ReLU.
Value PreActivationBlock(LayerGraph& graph, const std::string& name, Value x, int64_t channels,
                         int64_t stride, double dropout) {
  const bool same_shape = graph.shape(x).channels == channels && stride == 1;
  const Value activated = graph.BatchNorm(name + ".bn1", x, {.relu = true});
  Value y =
      graph.Convolution(name + ".conv1", activated,
                        {.out_channels = channels, .kernel = 3, .stride = stride, .padding = 1});
  y = graph.BatchNorm(name + ".bn2", y, {.relu = true});
  y = graph.Dropout(name + ".dropout", y, dropout);
  y = graph.Convolution(name + ".conv2", y, {.out_channels = channels, .kernel = 3, .padding = 1});
  const Value shortcut = same_shape
                             ? x
                             : graph.Convolution(name + ".convShortcut", activated,
                                                 {.out_channels = channels, .stride = stride});
  return graph.Add(name + ".add", shortcut, y);
}

}  // namespace

LayerGraph WideResNet(const ModelShape& shape, int64_t depth, int64_t width, double dropout) {
  const int64_t blocks = (depth - 4) / 6;
  LayerGraph graph(shape.name, shape.image, shape.classes);
  Value x =
      graph.Convolution("conv1", graph.image(), {.out_channels = 16, .kernel = 3, .padding = 1});
  for (int64_t stage = 1; stage <= 3; ++stage) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t stride = stage > 1 && block == 0 ? 2 : 1;
      x = PreActivationBlock(graph, fmt::format("block{}.layer.{}", stage, block), x,
                             (int64_t{8} << stage) * width, stride, dropout);
    }
  }
  x = graph.BatchNorm("bn1", x, {.relu = true});
  x = graph.GlobalAveragePool("avgpool", x);
  graph.Linear("fc", x, {.out_features = shape.classes});
  return graph;
}

}  // namespace thinwire
