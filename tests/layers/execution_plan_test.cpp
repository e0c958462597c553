#include "layers/execution_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/error.h"
#include "layers/memory_planner.h"
#include "tests/layers/small_graphs.h"

namespace thinwire {
namespace {

using Kind = ExecutionStep::Kind;

std::vector<ExecutionStep> StepsOf(const ExecutionPlan& plan, Kind kind) {
  std::vector<ExecutionStep> steps;
  std::copy_if(plan.steps.begin(), plan.steps.end(), std::back_inserter(steps),
               [&](const ExecutionStep& step) { return step.kind == kind; });
  return steps;
}

const PlannedTensor& TensorOf(const ExecutionPlan& plan, TensorId id) {
  return plan.tensors.at(static_cast<size_t>(id));
}

TEST(ExecutionPlan, InferenceTakesTurnsInTwoPlaces) {
  LayerGraph graph("chain", {4, 4, 16}, 16);  // an activation of one image is 1024 bytes
  Value x = graph.image();
  for (const char* name : {"a", "b", "c", "d"})
    x = graph.Convolution(name, x, {.out_channels = 16});
  graph.GlobalAveragePool("logits", x);
  const ExecutionPlan plan = MakeExecutionPlan(graph, {.batch = 1, .training = false});
  EXPECT_EQ(plan.steps.size(), 6u);
  // The image stays, the activations alternate, and the logits come where c was.
  EXPECT_EQ(plan.bytes, 3 * 1024 + kMemoryAlignment);  // the labels
  EXPECT_EQ(plan.bytes_without_reuse, 1024 + 4 * 1024 + 2 * kMemoryAlignment);
}

TEST(ExecutionPlan, NobodyAsksForTheImagesGradientOrInfersWithAny) {
  LayerGraph graph("two_readers", {4, 4, 16}, 16);
  const Value a = graph.Convolution("a", graph.image(), {.out_channels = 16});
  const Value relu = graph.Relu("relu", graph.image());
  const Value b = graph.Convolution("b", relu, {.out_channels = 16});
  const Value c = graph.Convolution("c", graph.Add("add", a, b), {.out_channels = 16});
  graph.GlobalAveragePool("logits", c);
  const auto uses = [&](bool training) {
    std::string text;
    const ExecutionPlan plan = MakeExecutionPlan(graph, {.training = training});
    for (const auto& [data, weights] : GradientsOfLayers(graph, plan)) {
      text += data && weights ? "both " : data ? "data " : weights ? "weights " : "none ";
    }
    return text;
  };
  // a, relu, b, add, c, logits; add has no backward step
  EXPECT_EQ(uses(true), "weights none weights none both both ");
  EXPECT_EQ(uses(false), "none none none none none none ");
}

TEST(ExecutionPlan, ReluAndAddWorkInPlaceInferringAndFlattenIsFree) {
  LayerGraph graph("in_place", {4, 4, 16}, 256);
  const Value a = graph.Convolution("a", graph.image(), {.out_channels = 16});
  const Value b = graph.Convolution("b", a, {.out_channels = 16});
  graph.Flatten("flatten", graph.Relu("relu", graph.Add("add", a, b)));
  const ExecutionPlan plan = MakeExecutionPlan(graph, {.batch = 1, .training = false});
  EXPECT_EQ(plan.bytes, 3 * 1024 + kMemoryAlignment);  // image, a, b; labels
}

TEST(ExecutionPlan, TrainingKeepsWhatBackwardReads) {
  LayerGraph graph("relu_chain", {4, 4, 16}, 16);
  Value x = graph.Convolution("a", graph.image(), {.out_channels = 16});
  x = graph.Relu("relu", x);
  x = graph.Convolution("b", x, {.out_channels = 16});
  graph.GlobalAveragePool("logits", x);
  const ExecutionPlan plan = MakeExecutionPlan(graph, {.batch = 1});
  const auto backward = StepsOf(plan, Kind::kBackward);
  ASSERT_EQ(backward.size(), 4u);
  EXPECT_EQ(graph.layers()[backward[2].layer]->name(), "relu");
  EXPECT_EQ(backward[2].inputs[0], kAbsent);
  EXPECT_NE(backward[2].forward_output, kAbsent);
  EXPECT_NE(backward[3].inputs[0], kAbsent);
  EXPECT_EQ(backward[3].inputs[0], plan.images);
  EXPECT_EQ(backward[3].input_gradients[0], kAbsent);  // of the image
  // Image, ReLU's output in place of a's, and two gradients; labels and logits. The logits'
  // gradient is dead before the second gradient is born.
  EXPECT_EQ(plan.bytes, 4 * 1024 + 2 * kMemoryAlignment);
  // ReLU's backward pass overwrites the gradient that arrives.
  EXPECT_EQ(TensorOf(plan, backward[2].output_gradients[0]).offset,
            TensorOf(plan, backward[2].input_gradients[0]).offset);
}

TEST(ExecutionPlan, BatchNormSumsTheGradientsOfItsConsumers) {
  const ExecutionPlan plan = MakeExecutionPlan(SmallGraphs()[1], {.batch = 2});
  EXPECT_TRUE(StepsOf(plan, Kind::kSum).empty());
  const auto backward = StepsOf(plan, Kind::kBackward);
  const auto twice = std::count_if(backward.begin(), backward.end(), [](const auto& step) {
    return step.output_gradients[1] != kAbsent;
  });
  EXPECT_EQ(twice, 3);  // the inputs of the three blocks
}

TEST(ExecutionPlan, BatchNormAddsTheGradientOfItsInputsOtherConsumer) {
  const ExecutionPlan plan = MakeExecutionPlan(SmallGraphs()[2], {.batch = 2});
  EXPECT_TRUE(StepsOf(plan, Kind::kSum).empty());
  const auto backward = StepsOf(plan, Kind::kBackward);
  const auto added = std::count_if(backward.begin(), backward.end(),
                                   [](const auto& step) { return step.addend != kAbsent; });
  EXPECT_EQ(added, 2);  // the two blocks with an identity shortcut
}

TEST(ExecutionPlan, OtherLayersNeedASum) {
  LayerGraph graph("fan_out", {1, 1, 4}, 2);
  const Value x = graph.Linear("shared", graph.image(), {.out_features = 3});
  Value y = graph.Linear("a", x, {.out_features = 2});
  y = graph.Add("ab", y, graph.Linear("b", x, {.out_features = 2}));
  graph.Add("abc", y, graph.Linear("c", x, {.out_features = 2}));
  const ExecutionPlan plan = MakeExecutionPlan(graph, {.batch = 2});
  EXPECT_EQ(StepsOf(plan, Kind::kSum).size(), 2u);
  EXPECT_EQ(StepsOf(plan, Kind::kBackward).size(), 4u);  // adding has no backward pass
}

/// What is in use in the same step is apart, but for what a step overwrites.
TEST(ExecutionPlan, TensorsInUseNeverOverlap) {
  std::vector<LayerGraph> graphs = SmallGraphs();
  for (uint64_t seed = 0; seed < 200; ++seed) graphs.push_back(RandomGraph(seed));
  for (const LayerGraph& graph : graphs) {
    for (const bool training : {true, false}) {
      SCOPED_TRACE(graph.name());
      const ExecutionPlan plan = MakeExecutionPlan(graph, {.batch = 3, .training = training});
      EXPECT_LE(plan.bytes, plan.bytes_without_reuse);
      for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const PlannedTensor& a = plan.tensors[i];
        ASSERT_LE(a.offset + a.bytes, plan.bytes);
        for (size_t j = 0; j < i; ++j) {
          const PlannedTensor& b = plan.tensors[j];
          const bool in_space = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
          // In one common step, one may be overwritten by the other, exactly.
          const int common = std::min(a.last, b.last) - std::max(a.first, b.first);
          if (!in_space || common < 0) continue;
          EXPECT_EQ(common, 0) << i << " and " << j;
          EXPECT_EQ(a.offset, b.offset);
          EXPECT_EQ(a.bytes, b.bytes);
        }
      }
    }
  }
}

TEST(ExecutionPlan, RefusesWhatIsNoClassifier) {
  auto expect_error = [](const LayerGraph& graph, const std::string& part) {
    try {
      MakeExecutionPlan(graph, {.batch = 1});
      FAIL() << "no error about " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  LayerGraph graph("broken", {4, 4, 1}, 3);
  expect_error(graph, "no layers");
  const Value x = graph.Convolution("conv", graph.image(), {.out_channels = 3});
  expect_error(graph, "conv, yields 4x4x3 where 3 logits are needed");
  graph.Relu("relu", x);
  graph.GlobalAveragePool("pool", x);
  expect_error(graph, "relu is never used");
  LayerGraph constant("constant", {2, 2, 3}, 3);
  constant.GlobalAveragePool("pool", constant.image());
  expect_error(constant, "no parameters");
  EXPECT_NO_THROW(MakeExecutionPlan(constant, {.batch = 1, .training = false}));
}

}  // namespace
}  // namespace thinwire
