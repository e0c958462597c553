#include "layers/initialization.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/device_test.h"

namespace thinwire {
namespace {

std::vector<float> Read(const ParameterArena& arena, const std::string& name) {
  const View view = arena.value(name);
  std::vector<float> values(static_cast<size_t>(view.size));
  arena.device().CopyToHost(view, values.data());
  return values;
}

LayerGraph SmallGraph() {
  LayerGraph graph("small", {8, 8, 16}, 10);
  Value x = graph.Convolution("conv", graph.image(),
                              {.out_channels = 64, .kernel = 3, .padding = 1, .bias = true});
  Value y = graph.BatchNorm("bn1", x, {.relu = true});
  y = graph.BatchNorm("bn2", y, {.residual = x});
  y = graph.Convolution("zero_bias", y,
                        {.out_channels = 64, .bias = true, .zero_initial_bias = true});
  y = graph.GlobalAveragePool("pool", y);
  y = graph.Linear("hidden", y, {.out_features = 300});
  graph.Linear("fc", y, {.out_features = 10});
  return graph;
}

template <typename Backend>
using InitializationTest = DeviceTest<Backend>;
TYPED_TEST_SUITE(InitializationTest, Backends);

/// Sums of n independent draws are within 5 standard deviations of their mean.
void ExpectMoments(const std::vector<float>& values, double variance, double fourth_moment) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / n, 0, 5 * std::sqrt(variance / n));
  EXPECT_NEAR(squares / n, variance, 5 * std::sqrt((fourth_moment - variance * variance) / n));
}

TYPED_TEST(InitializationTest, DrawsTheLayersDistributions) {
  const LayerGraph graph = SmallGraph();
  ParameterArena arena(*this->device_, graph.tensor_specs());
  InitializeParameters(graph, arena, 7);

  const double filter_variance = 2.0 / (64 * 9);  // Kaiming over the fan-out
  ExpectMoments(Read(arena, "conv.weight"), filter_variance, 3 * filter_variance * filter_variance);
  const double bound = 1 / std::sqrt(64.0), uniform_variance = bound * bound / 3;
  const std::vector<float> weight = Read(arena, "hidden.weight");
  ExpectMoments(weight, uniform_variance, std::pow(bound, 4) / 5);
  const auto [smallest, largest] = std::minmax_element(weight.begin(), weight.end());
  EXPECT_GE(*smallest, -bound);
  EXPECT_LE(*largest, bound);
  EXPECT_LT(*smallest, -0.99 * bound);  // 19200 draws come near the ends
  EXPECT_GT(*largest, 0.99 * bound);
  const std::vector<float> bias = Read(arena, "conv.bias");
  for (const float value : bias) EXPECT_LE(std::abs(value), 1 / std::sqrt(16.0 * 9));
  EXPECT_NE(bias[0], bias[1]);

  EXPECT_EQ(Read(arena, "zero_bias.bias"), std::vector<float>(64, 0.0f));
  EXPECT_EQ(Read(arena, "bn2.weight"), std::vector<float>(64, 1.0f));
  EXPECT_EQ(Read(arena, "bn2.bias"), std::vector<float>(64, 0.0f));
  EXPECT_EQ(Read(arena, "bn2.running_mean"), std::vector<float>(64, 0.0f));
  EXPECT_EQ(Read(arena, "bn2.running_var"), std::vector<float>(64, 1.0f));
}

TYPED_TEST(InitializationTest, ATensorDependsOnSeedAndNameAlone) {
  const LayerGraph graph = SmallGraph();
  ParameterArena arena(*this->device_, graph.tensor_specs());
  InitializeParameters(graph, arena, 7);
  const std::vector<float> conv = Read(arena, "conv.weight"), fc = Read(arena, "fc.weight");

  LayerGraph other("other", {1, 1, 300}, 10);
  other.Linear("fc", other.Linear("before", other.image(), {.out_features = 300}),
               {.out_features = 10});
  ParameterArena other_arena(*this->device_, other.tensor_specs());
  InitializeParameters(other, other_arena, 7);
  EXPECT_EQ(Read(other_arena, "fc.weight"), fc);
  EXPECT_NE(Read(other_arena, "fc.bias")[0], fc[0]);

  InitializeParameters(graph, arena, 8);
  EXPECT_NE(Read(arena, "conv.weight"), conv);
  InitializeParameters(graph, arena, 7);
  EXPECT_EQ(Read(arena, "conv.weight"), conv);
}

TYPED_TEST(InitializationTest, ResidualBranchesCanStartAtZero) {
  const LayerGraph graph = SmallGraph();
  ParameterArena arena(*this->device_, graph.tensor_specs());
  InitializeParameters(graph, arena, 7, {.zero_residual_scale = true});
  EXPECT_EQ(Read(arena, "bn1.weight"), std::vector<float>(64, 1.0f));
  EXPECT_EQ(Read(arena, "bn2.weight"), std::vector<float>(64, 0.0f));
}

TYPED_TEST(InitializationTest, PaddingStaysZero) {
  const LayerGraph graph = SmallGraph();
  ParameterArena arena(*this->device_, graph.tensor_specs());
  InitializeParameters(graph, arena, 7);
  std::vector<float> all(static_cast<size_t>(arena.padded_size()));
  this->device_->CopyToHost(arena.values(), all.data());
  for (const Segment& segment : arena.segments()) {
    std::fill_n(all.begin() + segment.offset, segment.size, 0.0f);
  }
  EXPECT_EQ(all, std::vector<float>(all.size(), 0.0f));
}

}  // namespace
}  // namespace thinwire
