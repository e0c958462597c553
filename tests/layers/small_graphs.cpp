#include "tests/layers/small_graphs.h"

#include <fmt/core.h>

#include "kernels/random.h"

namespace thinwire {
namespace {

LayerGraph Plain() {
  LayerGraph graph("plain", {9, 7, 3}, 4);
  Value x = graph.Convolution("conv1", graph.image(),
                              {.out_channels = 4, .kernel = 3, .padding = 1, .bias = true});
  x = graph.MaxPool("max", graph.Relu("relu1", x), {.window = 3, .stride = 2, .padding = 1});
  x = graph.Convolution("conv2", x, {.out_channels = 6, .kernel = 3, .padding = 1, .groups = 2});
  x = graph.BatchNorm("bn", x, {.relu = true});
  x = graph.AveragePool("average", x);
  x = graph.Flatten("flatten", x);
  x = graph.Relu("relu2", graph.Linear("fc1", x, {.out_features = 7}));
  x = graph.Dropout("dropout", x, 0.3);
  graph.Linear("fc2", x, {.out_features = 4, .bias = false});
  return graph;
}

/// The batch norms' outputs are used twice: identity, padded and convolved shortcuts.
LayerGraph PostActivation() {
  LayerGraph graph("post_activation", {6, 6, 2}, 3);
  Value x =
      graph.Convolution("conv", graph.image(), {.out_channels = 4, .kernel = 3, .padding = 1});
  x = graph.BatchNorm("bn", x, {.relu = true});
  for (const char* name : {"identity", "pad", "convolution"}) {
    const std::string path = name;
    const bool same = path == "identity";
    const int64_t channels = graph.shape(x).channels * (same ? 1 : 2), stride = same ? 1 : 2;
    Value y = graph.Convolution(
        path + ".conv1", x,
        {.out_channels = channels, .kernel = 3, .stride = stride, .padding = 1, .bias = true});
    y = graph.BatchNorm(path + ".bn1", y, {.relu = true});
    y = graph.Convolution(path + ".conv2", y,
                          {.out_channels = channels, .kernel = 3, .padding = 1});
    Value shortcut = x;
    if (path == "pad") shortcut = graph.PadShortcut("pad", x, {.out_channels = channels});
    if (path == "convolution") {
      shortcut = graph.Convolution("shortcut", x, {.out_channels = channels, .stride = 2});
      shortcut = graph.BatchNorm("shortcut.bn", shortcut);
    }
    x = graph.BatchNorm(path + ".bn2", y, {.relu = true, .residual = shortcut});
  }
  graph.Linear("fc", graph.GlobalAveragePool("pool", x), {.out_features = 3});
  return graph;
}

/// The batch norms' inputs are used twice.
LayerGraph PreActivation() {
  LayerGraph graph("pre_activation", {6, 5, 2}, 3);
  Value x =
      graph.Convolution("conv", graph.image(), {.out_channels = 4, .kernel = 3, .padding = 1});
  for (const char* name : {"identity1", "identity2", "convolution"}) {
    const std::string path = name;
    const bool same = path != "convolution";
    const int64_t channels = same ? 4 : 6, stride = same ? 1 : 2;
    const Value activated = graph.BatchNorm(path + ".bn1", x, {.relu = true});
    Value y =
        graph.Convolution(path + ".conv1", activated,
                          {.out_channels = channels, .kernel = 3, .stride = stride, .padding = 1});
    y = graph.Dropout(path + ".dropout", graph.BatchNorm(path + ".bn2", y, {.relu = true}), 0.25);
    y = graph.Convolution(path + ".conv2", y,
                          {.out_channels = channels, .kernel = 3, .padding = 1});
    const Value shortcut = same ? x
                                : graph.Convolution(path + ".shortcut", activated,
                                                    {.out_channels = channels, .stride = stride});
    x = graph.Add(path + ".add", shortcut, y);
  }
  x = graph.BatchNorm("bn", x, {.relu = true});
  graph.Linear("fc", graph.GlobalAveragePool("pool", x), {.out_features = 3});
  return graph;
}

/// What no model does, but a graph may.
LayerGraph Tangle() {
  LayerGraph graph("tangle", {4, 4, 3}, 3);
  // Values without a gradient: the image itself, padded, and flattened.
  const Value padded = graph.PadShortcut("pad", graph.image(), {.out_channels = 6, .stride = 1});
  Value x =
      graph.Convolution("conv", graph.image(), {.out_channels = 6, .kernel = 3, .padding = 1});
  x = graph.Add("with_image", x, padded);
  x = graph.Add("doubled", x, x);
  x = graph.Add("around_norm", x, graph.BatchNorm("bn1", x));
  x = graph.BatchNorm("own_residual", x, {.relu = true, .residual = x});
  x = graph.BatchNorm("linear_residual", x, {.residual = padded});
  x = graph.BatchNorm("chained_residual", x, {.relu = true, .residual = x});
  // Three and more consumers of a batch norm and of another layer.
  Value y =
      graph.Add("sum1", graph.Relu("relu1", x), graph.Convolution("c1", x, {.out_channels = 6}));
  y = graph.Add("sum2", y, graph.AveragePool("a1", x, {.window = 3, .stride = 1, .padding = 1}));
  y = graph.Add("sum3", y, graph.MaxPool("m1", y, {.window = 3, .stride = 1, .padding = 1}));
  y = graph.BatchNorm("bn2", y, {.relu = true, .residual = x});
  const Value flat = graph.Flatten("flatten", y);
  const Value flat_image = graph.Flatten("flatten_image", graph.image());
  Value z = graph.Linear("fc1", flat, {.out_features = 5});
  z = graph.Add("sum4", z, graph.Linear("fc2", flat, {.out_features = 5}));
  z = graph.Add("sum5", z, graph.Linear("fc3", flat_image, {.out_features = 5}));
  graph.Linear("fc4", graph.Relu("relu2", z), {.out_features = 3});
  return graph;
}

LayerGraph OneLinear() {
  LayerGraph graph("one_linear", {2, 2, 1}, 3);
  graph.Linear("fc", graph.Flatten("flatten", graph.image()), {.out_features = 3});
  return graph;
}

}  // namespace

std::vector<LayerGraph> SmallGraphs() {
  return {Plain(), PostActivation(), PreActivation(), Tangle(), OneLinear()};
}

LayerGraph RandomGraph(uint64_t seed) {
  RandomStream random(seed, 0);
  LayerGraph graph(fmt::format("random{}", seed), {4, 4, 3}, 3);
  std::vector<Value> values = {graph.image()};
  std::vector<bool> used = {false};
  auto pick = [&] {
    // Mostly the newest, so that graphs are deep as well as wide.
    const auto count = static_cast<uint32_t>(values.size());
    const uint32_t index = random.Below(2) == 0 ? count - 1 : random.Below(count);
    used[index] = true;
    return values[index];
  };
  const uint32_t layers = 3 + random.Below(10);
  const PoolingOptions window{.window = 3, .stride = 1, .padding = 1};
  for (uint32_t i = 0; i < layers; ++i) {
    const std::string name = fmt::format("layer{}", i);
    Value y;
    const Value x = pick();
    switch (random.Below(9)) {
      case 0:
        y = graph.Relu(name, x);
        break;
      case 1:
        y = graph.Add(name, x, pick());
        break;
      case 2:
        y = graph.Dropout(name, x, 0.25);
        break;
      case 3:
        y = graph.AveragePool(name, x, window);
        break;
      case 4:
        y = graph.MaxPool(name, x, window);
        break;
      case 5:
        y = graph.Convolution(name, x, {.out_channels = 3, .kernel = 3, .padding = 1});
        break;
      case 6:
        y = graph.BatchNorm(name, x, {.relu = random.Below(2) == 0});
        break;
      default:
        y = graph.BatchNorm(name, x, {.relu = random.Below(2) == 0, .residual = pick()});
        break;
    }
    values.push_back(y);
    used.push_back(false);
  }
  Value sum = values.back();
  for (size_t i = 1; i + 1 < values.size(); ++i) {
    if (!used[i]) sum = graph.Add(fmt::format("rest{}", i), sum, values[i]);
  }
  graph.Linear("fc", graph.GlobalAveragePool("pool", sum), {.out_features = 3});
  return graph;
}

}  // namespace thinwire
