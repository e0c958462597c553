#include "models/families.h"

namespace thinwire {

LayerGraph LeNet(const ModelShape& shape) {
  LayerGraph graph(shape.name, shape.image, shape.classes);
  // MNIST's 28x28 digits are the middle of the paper's 32x32 ones.
  const int64_t padding = shape.image.height == 28 && shape.image.width == 28 ? 2 : 0;
  Value x = graph.Convolution("conv1", graph.image(),
                              {.out_channels = 6, .kernel = 5, .padding = padding, .bias = true});
  x = graph.MaxPool("pool1", graph.Relu("relu1", x));
  x = graph.Convolution("conv2", x, {.out_channels = 16, .kernel = 5, .bias = true});
  x = graph.MaxPool("pool2", graph.Relu("relu2", x));
  x = graph.Flatten("flatten", x);
  x = graph.Relu("relu3", graph.Linear("fc1", x, {.out_features = 120}));
  x = graph.Relu("relu4", graph.Linear("fc2", x, {.out_features = 84}));
  graph.Linear("fc3", x, {.out_features = shape.classes});
  return graph;
}

}  // namespace thinwire
