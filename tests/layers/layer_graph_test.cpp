#include "layers/layer_graph.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/error.h"

namespace thinwire {
namespace {

LayerGraph Image(int64_t height, int64_t width, int64_t channels) {
  return LayerGraph("test", {height, width, channels}, 10);
}

TEST(LayerGraph, InfersShapes) {
  LayerGraph graph = Image(33, 17, 3);
  const Value x = graph.Convolution("conv", graph.image(),
                                    {.out_channels = 8, .kernel = 3, .stride = 2, .padding = 1});
  EXPECT_EQ(graph.shape(x), (ImageShape{17, 9, 8}));
  EXPECT_EQ(graph.shape(graph.BatchNorm("bn", x)), (ImageShape{17, 9, 8}));
  EXPECT_EQ(graph.shape(graph.Relu("relu", x)), (ImageShape{17, 9, 8}));
  EXPECT_EQ(graph.shape(graph.MaxPool("max", x, {.window = 3, .stride = 2, .padding = 1})),
            (ImageShape{9, 5, 8}));
  EXPECT_EQ(graph.shape(graph.AveragePool("average", x)), (ImageShape{8, 4, 8}));
  EXPECT_EQ(graph.shape(graph.PadShortcut("pad", x, {.out_channels = 20})), (ImageShape{9, 5, 20}));
  EXPECT_EQ(graph.shape(graph.GlobalAveragePool("global", x)), (ImageShape{1, 1, 8}));
  const Value flat = graph.Flatten("flatten", x);
  EXPECT_EQ(graph.shape(flat), (ImageShape{1, 1, 17 * 9 * 8}));
  EXPECT_EQ(graph.shape(graph.Linear("fc", flat, {.out_features = 5})), (ImageShape{1, 1, 5}));
}

TEST(LayerGraph, NamesTensorsAsPyTorch) {
  LayerGraph graph = Image(4, 4, 6);
  Value x =
      graph.Convolution("layer1.0.conv1", graph.image(),
                        {.out_channels = 8, .kernel = 3, .padding = 1, .groups = 2, .bias = true});
  x = graph.BatchNorm("layer1.0.bn1", x);
  graph.Linear("fc", graph.GlobalAveragePool("pool", x), {.out_features = 10});
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors;
  for (const TensorSpec& spec : graph.tensor_specs()) tensors.emplace_back(spec.name, spec.shape);
  const std::vector<std::pair<std::string, std::vector<int64_t>>> expected = {
      {"layer1.0.conv1.weight", {8, 3, 3, 3}},
      {"layer1.0.conv1.bias", {8}},
      {"layer1.0.bn1.weight", {8}},
      {"layer1.0.bn1.bias", {8}},
      {"layer1.0.bn1.running_mean", {8}},
      {"layer1.0.bn1.running_var", {8}},
      {"fc.weight", {10, 8}},
      {"fc.bias", {10}}};
  EXPECT_EQ(tensors, expected);
  EXPECT_EQ(graph.parameter_count(), 8 * 27 + 8 + 8 + 8 + 80 + 10);
}

TEST(LayerGraph, RemembersTheImageThatALinearLayerReads) {
  LayerGraph graph = Image(4, 3, 2);
  const Value flat =
      graph.Dropout("dropout", graph.Relu("relu", graph.Flatten("f", graph.image())), 0.5);
  const Value hidden = graph.Linear("fc1", flat, {.out_features = 5});
  graph.Linear("fc2", hidden, {.out_features = 10});
  LayerGraph pixel = Image(1, 1, 24);
  pixel.Linear("fc3", pixel.Flatten("f", pixel.image()), {.out_features = 10});
  EXPECT_EQ(graph.tensor_specs()[0].flattened_from, (std::vector<int64_t>{4, 3, 2}));
  EXPECT_TRUE(graph.tensor_specs()[1].flattened_from.empty());  // the bias
  EXPECT_TRUE(graph.tensor_specs()[2].flattened_from.empty());
  EXPECT_TRUE(pixel.tensor_specs()[0].flattened_from.empty());
}

TEST(LayerGraph, CountsAMultiplyAddAsTwo) {
  LayerGraph graph = Image(8, 6, 4);
  graph.Convolution("conv", graph.image(),
                    {.out_channels = 10, .kernel = 3, .padding = 1, .groups = 2, .bias = true});
  EXPECT_EQ(graph.forward_flops(), 8 * 6 * 10 * (2 * 9 * 2 + 1));
  LayerGraph linear = Image(1, 1, 7);
  linear.Linear("fc", linear.image(), {.out_features = 3});
  EXPECT_EQ(linear.forward_flops(), 3 * (2 * 7 + 1));
}

TEST(LayerGraph, ADropoutRateOfZeroIsNoLayer) {
  LayerGraph graph = Image(4, 4, 2);
  EXPECT_EQ(graph.Dropout("dropout", graph.image(), 0).index, 0);
  EXPECT_TRUE(graph.layers().empty());
}

TEST(LayerGraph, NamesTheLayerThatDoesNotFit) {
  LayerGraph graph = Image(4, 4, 3);
  auto expect_error = [&](const std::string& part, auto build) {
    try {
      build();
      FAIL() << "no error about " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  const Value x = graph.image();
  expect_error("convolution c1", [&] { graph.Convolution("c1", x, {.out_channels = 0}); });
  expect_error("convolution c2",
               [&] { graph.Convolution("c2", x, {.out_channels = 4, .groups = 2}); });
  expect_error("4x4x3, is smaller than its 5x5 kernel",
               [&] { graph.Convolution("c3", x, {.out_channels = 4, .kernel = 5}); });
  expect_error("pooling p1", [&] { graph.MaxPool("p1", x, {.window = 2, .stride = 0}); });
  expect_error("pooling p2", [&] { graph.MaxPool("p2", x, {.window = 5, .stride = 1}); });
  expect_error("pooling p3",
               [&] { graph.AveragePool("p3", x, {.window = 2, .stride = 1, .padding = 2}); });
  expect_error("linear layer l1", [&] { graph.Linear("l1", x, {.out_features = 4}); });
  expect_error("shortcut s1", [&] { graph.PadShortcut("s1", x, {.out_channels = 2}); });
  expect_error("dropout d1", [&] { graph.Dropout("d1", x, 1.0); });
  expect_error("dropout d2", [&] { graph.Dropout("d2", x, -0.5); });
  const Value y = graph.Convolution("conv", x, {.out_channels = 4});
  expect_error("layer a1", [&] { graph.Add("a1", x, y); });
  expect_error("layer b1", [&] { graph.BatchNorm("b1", x, {.residual = y}); });
  EXPECT_THROW(Image(0, 4, 3), Error);
  EXPECT_THROW(LayerGraph("none", {4, 4, 3}, 0), Error);
}

}  // namespace
}  // namespace thinwire
