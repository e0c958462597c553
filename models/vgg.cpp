#include <fmt/core.h>

#include <array>

#include "models/families.h"

namespace thinwire {
namespace {

/// Convolutions in each of the five stages.
std::array<int64_t, 5> StagesOf(int64_t depth) {
  switch (depth) {
    case 11:
      return {1, 1, 2, 2, 2};
    case 13:
      return {2, 2, 2, 2, 2};
    case 16:
      return {2, 2, 3, 3, 3};
    default:
      return {2, 2, 4, 4, 4};  // 19
  }
}

}  // namespace

LayerGraph Vgg(const ModelShape& shape, int64_t depth, bool cifar_head, double dropout) {
  constexpr std::array<int64_t, 5> kChannels = {64, 128, 256, 512, 512};
  const std::array<int64_t, 5> stages = StagesOf(depth);
  LayerGraph graph(shape.name, shape.image, shape.classes);
  Value x = graph.image();
  int index = 0;  // in PyTorch's Sequential, where ReLU is a module of its own
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    for (int64_t i = 0; i < stages[stage]; ++i) {
      x = graph.Convolution(fmt::format("features.{}", index), x,
                            {.out_channels = kChannels[stage],
                             .kernel = 3,
                             .padding = 1,
                             .bias = true,
                             .zero_initial_bias = true});
      x = graph.BatchNorm(fmt::format("features.{}", index + 1), x, {.relu = true});
      index += 3;
    }
    x = graph.MaxPool(fmt::format("features.{}", index), x);
    ++index;
  }
  if (cifar_head) {
    x = graph.Flatten("flatten", x);
    graph.Linear("classifier", x, {.out_features = shape.classes});
    return graph;
  }
  x = graph.Flatten("flatten", x);
  for (const int layer : {0, 3}) {
    x = graph.Linear(fmt::format("classifier.{}", layer), x, {.out_features = 4096});
    x = graph.Relu(fmt::format("classifier.{}", layer + 1), x);
    x = graph.Dropout(fmt::format("classifier.{}", layer + 2), x, dropout);
  }
  graph.Linear("classifier.6", x, {.out_features = shape.classes});
  return graph;
}

}  // namespace thinwire
