#include "layers/layer_table.h"

#include <gtest/gtest.h>

#include "layers/execution_plan.h"
#include "tests/layers/small_graphs.h"

namespace thinwire {
namespace {

TEST(LayerTable, TotalsAreThoseOfThePlans) {
  for (const LayerGraph& graph : SmallGraphs()) {
    const LayerTotals totals = TotalsOf(graph, 4);
    const ExecutionPlan training = MakeExecutionPlan(graph, {.batch = 4});
    const ExecutionPlan inference = MakeExecutionPlan(graph, {.batch = 4, .training = false});
    EXPECT_EQ(totals.layers, static_cast<int64_t>(graph.layers().size()));
    EXPECT_EQ(totals.parameters, graph.parameter_count());
    EXPECT_EQ(totals.forward_flops, graph.forward_flops());
    EXPECT_EQ(totals.training_bytes, training.bytes);
    EXPECT_EQ(totals.training_bytes_without_reuse, training.bytes_without_reuse);
    EXPECT_EQ(totals.inference_bytes, inference.bytes);
    EXPECT_EQ(totals.inference_bytes_without_reuse, inference.bytes_without_reuse);
    EXPECT_LT(totals.inference_bytes, totals.training_bytes);
  }
}

TEST(LayerTable, HasALineForEachLayer) {
  LayerGraph graph("example", {32, 32, 3}, 10);
  Value x = graph.Convolution("conv1", graph.image(),
                              {.out_channels = 64, .kernel = 3, .stride = 2, .padding = 1});
  x = graph.BatchNorm("bn1", x, {.relu = true});
  graph.Linear("fc", graph.GlobalAveragePool("avgpool", x), {.out_features = 10});
  const std::string table = FormatLayerTable(graph, 128);
  EXPECT_EQ(table,
            "layer    kind                       output    parameters  forward/image  "
            "output, batch 128\n"
            "conv1    convolution 3x3, stride 2  16x16x64       1,728    884.7 KFLOP  "
            "          8.0 MiB\n"
            "bn1      batch norm + ReLU          16x16x64         128     49.2 KFLOP  "
            "          8.0 MiB\n"
            "avgpool  global average pooling     64                 0     16.4 KFLOP  "
            "         32.0 KiB\n"
            "fc       linear                     10               650      1.3 KFLOP  "
            "          5.0 KiB\n"
            "\n"
            "example: 4 layers, image 32x32x3, 10 classes\n"
            "parameters         2,506\n"
            "forward, an image  951.6 KFLOP\n"
            "training memory    17.6 MiB of activations and their gradients at batch 128 "
            "(33.6 MiB without reuse)\n"
            "inference memory   17.5 MiB of activations at batch 128 (17.5 MiB without reuse)\n");
}

}  // namespace
}  // namespace thinwire
