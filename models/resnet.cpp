#include <fmt/core.h>

#include <array>

#include "models/families.h"

namespace thinwire {
namespace {

struct Layout {
  std::array<int64_t, 4> blocks;
  bool bottleneck;
};

Layout LayoutOf(int64_t depth) {
  switch (depth) {
    case 18:
      return {{2, 2, 2, 2}, false};
    case 34:
      return {{3, 4, 6, 3}, false};
    case 50:
      return {{3, 4, 6, 3}, true};
    case 101:
      return {{3, 4, 23, 3}, true};
    default:
      return {{3, 8, 36, 3}, true};  // 152
  }
}

/// A bottleneck yields four times `channels`, and is `width` times as wide inside.
Value Block(LayerGraph& graph, const std::string& name, Value x, int64_t channels, int64_t width,
            int64_t stride, bool bottleneck) {
  Value y = x;
  auto convolution = [&](int index, int64_t out_channels, int64_t kernel, int64_t its_stride) {
    y = graph.Convolution(fmt::format("{}.conv{}", name, index), y,
                          {.out_channels = out_channels,
                           .kernel = kernel,
                           .stride = its_stride,
                           .padding = kernel / 2});
  };
  auto batch_norm = [&](int index, const BatchNormOptions& options) {
    y = graph.BatchNorm(fmt::format("{}.bn{}", name, index), y, options);
  };
  int last = 2;
  if (bottleneck) {
    last = 3;
    convolution(1, width * channels, 1, 1);
    batch_norm(1, {.relu = true});
    convolution(2, width * channels, 3, stride);
    batch_norm(2, {.relu = true});
    convolution(3, 4 * channels, 1, 1);
  } else {
    convolution(1, channels, 3, stride);
    batch_norm(1, {.relu = true});
    convolution(2, channels, 3, 1);
  }
  Value shortcut = x;
  if (stride != 1 || graph.shape(x) != graph.shape(y)) {
    shortcut = graph.Convolution(name + ".downsample.0", x,
                                 {.out_channels = graph.shape(y).channels, .stride = stride});
    shortcut = graph.BatchNorm(name + ".downsample.1", shortcut);
  }
  batch_norm(last, {.relu = true, .residual = shortcut});
  return y;
}

}  // namespace

LayerGraph ResNet(const ModelShape& shape, int64_t depth, bool cifar_stem, int64_t width) {
  const Layout layout = LayoutOf(depth);
  LayerGraph graph(shape.name, shape.image, shape.classes);
  Value x = graph.image();
  if (cifar_stem) {
    x = graph.Convolution("conv1", x, {.out_channels = 64, .kernel = 3, .padding = 1});
    x = graph.BatchNorm("bn1", x, {.relu = true});
  } else {
    x = graph.Convolution("conv1", x, {.out_channels = 64, .kernel = 7, .stride = 2, .padding = 3});
    x = graph.BatchNorm("bn1", x, {.relu = true});
    x = graph.MaxPool("maxpool", x, {.window = 3, .stride = 2, .padding = 1});
  }
  for (size_t stage = 0; stage < layout.blocks.size(); ++stage) {
    for (int64_t block = 0; block < layout.blocks[stage]; ++block) {
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      x = Block(graph, fmt::format("layer{}.{}", stage + 1, block), x, int64_t{64} << stage, width,
                stride, layout.bottleneck);
    }
  }
  x = graph.GlobalAveragePool("avgpool", x);
  graph.Linear("fc", x, {.out_features = shape.classes});
  return graph;
}

}  // namespace thinwire
