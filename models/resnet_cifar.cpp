#include <fmt/core.h>

#include "models/families.h"

namespace thinwire {
namespace {

Value BasicBlock(LayerGraph& graph, const std::string& name, Value x, int64_t channels,
                 int64_t stride, char shortcut) {
  Value y = graph.Convolution(
      name + ".conv1", x, {.out_channels = channels, .kernel = 3, .stride = stride, .padding = 1});
  y = graph.BatchNorm(name + ".bn1", y, {.relu = true});
  y = graph.Convolution(name + ".conv2", y, {.out_channels = channels, .kernel = 3, .padding = 1});
  if (graph.shape(x) != graph.shape(y)) {
    const std::string path = name + ".shortcut";
    if (shortcut == 'A') {
      x = graph.PadShortcut(path, x, {.out_channels = channels, .stride = stride});
    } else {
      x = graph.Convolution(path + ".0", x, {.out_channels = channels, .stride = stride});
      x = graph.BatchNorm(path + ".1", x);
    }
  }
  return graph.BatchNorm(name + ".bn2", y, {.relu = true, .residual = x});
}

}  // namespace

LayerGraph ResNetCifar(const ModelShape& shape, int64_t depth, char shortcut) {
  const int64_t blocks = (depth - 2) / 6;
  LayerGraph graph(shape.name, shape.image, shape.classes);
  Value x =
      graph.Convolution("conv1", graph.image(), {.out_channels = 16, .kernel = 3, .padding = 1});
  x = graph.BatchNorm("bn1", x, {.relu = true});
  for (int64_t stage = 1; stage <= 3; ++stage) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t stride = stage > 1 && block == 0 ? 2 : 1;
      x = BasicBlock(graph, fmt::format("layer{}.{}", stage, block), x, int64_t{8} << stage, stride,
                     shortcut);
    }
  }
  x = graph.GlobalAveragePool("avgpool", x);
  graph.Linear("linear", x, {.out_features = shape.classes});
  return graph;
}

}  // namespace thinwire
