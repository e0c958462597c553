#include "models/families.h"

namespace thinwire {

LayerGraph Mlp(const ModelShape& shape) {
  LayerGraph graph(shape.name, shape.image, shape.classes);
  Value x = graph.Flatten("flatten", graph.image());
  x = graph.Relu("relu1", graph.Linear("fc1", x, {.out_features = 256}));
  x = graph.Relu("relu2", graph.Linear("fc2", x, {.out_features = 128}));
  graph.Linear("fc3", x, {.out_features = shape.classes});
  return graph;
}

}  // namespace thinwire
