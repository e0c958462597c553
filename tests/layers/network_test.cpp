#include "layers/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "kernels/error.h"
#include "layers/elementwise.h"
#include "layers/name_hash.h"
#include "tests/device_test.h"
#include "tests/layers/float64_network.h"
#include "tests/layers/small_graphs.h"

namespace thinwire {
namespace {

using Tensors = std::map<std::string, std::vector<float>>;

Tensors RandomTensors(const LayerGraph& graph) {
  Tensors tensors;
  for (const TensorSpec& spec : graph.tensor_specs()) {
    const bool is_scale =
        spec.role == TensorRole::kBatchNormScale || spec.role == TensorRole::kRunningVariance;
    const bool is_weight = spec.shape.size() > 1;
    const float spread =
        is_weight ? std::sqrt(static_cast<float>(spec.shape[0]) / static_cast<float>(spec.size()))
                  : 0.3f;
    std::vector<float> values = RandomNormal(spec.size(), HashName(spec.name), spread);
    for (float& value : values) {
      if (is_scale) value = 0.5f + std::abs(1 + value);
    }
    tensors[spec.name] = values;
  }
  return tensors;
}

void Write(ParameterArena& arena, const Tensors& tensors) {
  for (const auto& [name, values] : tensors) {
    arena.device().CopyFromHost(values.data(), arena.value(name));
  }
}

std::vector<float> Read(Device& device, ConstView view) {
  std::vector<float> values(static_cast<size_t>(view.size));
  device.CopyToHost(view, values.data());
  return values;
}

Float64Batch RandomBatch(const LayerGraph& graph, int64_t size) {
  Float64Batch batch{RandomNormal(size * graph.image_shape().size(), 11), {}};
  for (int64_t i = 0; i < size; ++i) {
    batch.labels.push_back(static_cast<int32_t>(i * 7 % graph.classes()));
  }
  return batch;
}

void Write(Device& device, Network& network, const Float64Batch& batch) {
  ASSERT_EQ(network.images().size, static_cast<int64_t>(batch.images.size()));
  ASSERT_EQ(network.labels().size, static_cast<int64_t>(batch.labels.size()));
  device.CopyFromHost(batch.images.data(), network.images());
  device.CopyFromHost(batch.labels.data(), network.labels());
}

std::map<std::string, std::vector<float>> DropoutMasks(Device& device, const LayerGraph& graph,
                                                       int64_t batch, uint64_t seed,
                                                       uint64_t step) {
  std::map<std::string, std::vector<float>> masks;
  for (const auto& layer : graph.layers()) {
    const auto* dropout = dynamic_cast<const DropoutLayer*>(layer.get());
    if (!dropout) continue;
    const std::vector<float> ones(static_cast<size_t>(batch * layer->output_shape().size()), 1.0f);
    TestBuffer<float> mask(device, ones);
    device.Dropout(mask, dropout->rate(), seed + HashName(layer->name()), step, mask);
    masks[layer->name()] = mask.Read();
  }
  return masks;
}

double LargestMagnitude(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

void ExpectNear(const std::vector<float>& values, const std::vector<double>& truth,
                double tolerance, const std::string& what) {
  ASSERT_EQ(values.size(), truth.size()) << what;
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_NEAR(values[i], truth[i], tolerance) << what << "[" << i << "]";
  }
}

/// L layers make 2 L passes, each of whose sums, n terms long, round independently: the errors add
/// up to sqrt(2 L n) epsilon. Batch norms amplify what reaches them by scale / deviation, for which
/// the factor 4 stands. Relative to the largest value of the kind.
double RelativeTolerance(const LayerGraph& graph, int64_t batch) {
  const int64_t terms = batch * graph.image_shape().height * graph.image_shape().width;
  const auto layers = static_cast<int64_t>(graph.layers().size());
  return 4 * std::sqrt(static_cast<double>(2 * layers * terms)) *
         std::numeric_limits<float>::epsilon();
}

/// Trains a step and compares everything that it yields with float64 loops.
void ExpectStepMatchesFloat64(Device& device, const LayerGraph& graph, const Float64Batch& batch,
                              float label_smoothing) {
  SCOPED_TRACE(graph.name());
  const auto size = static_cast<int64_t>(batch.labels.size());
  const NetworkOptions options{
      .batch_size = size, .training = true, .label_smoothing = label_smoothing, .seed = 5};
  const float gradient_scale = 1.0f / static_cast<float>(size);
  const uint64_t step = 3;
  const Tensors tensors = RandomTensors(graph);
  ParameterArena arena(device, graph.tensor_specs());
  Network network(graph, arena, options);
  Write(arena, tensors);
  Write(device, network, batch);
  network.ForwardBackward(gradient_scale, step);

  const Float64Result truth =
      EvaluateFloat64(graph, tensors, batch,
                      {.training = true,
                       .gradient_scale = gradient_scale,
                       .label_smoothing = label_smoothing,
                       .dropout_masks = DropoutMasks(device, graph, size, options.seed, step)});
  const double tolerance = RelativeTolerance(graph, size);
  const double logit_scale = 1 + LargestMagnitude(truth.logits);
  const LossResult loss = network.ReadLoss();
  const auto rows = std::count_if(batch.labels.begin(), batch.labels.end(),
                                  [](int32_t label) { return label >= 0; });
  EXPECT_EQ(loss.rows, rows);
  EXPECT_NEAR(loss.loss_sum, truth.loss_sum, static_cast<double>(rows) * tolerance * logit_scale);
  ExpectNear(Read(device, network.logits()), truth.logits, tolerance * logit_scale, "logits");
  double largest = 0;
  for (const auto& [name, gradient] : truth.gradients) {
    largest = std::max(largest, LargestMagnitude(gradient));
  }
  EXPECT_GT(largest, 0);
  for (const auto& [name, gradient] : truth.gradients) {
    ExpectNear(Read(device, arena.gradient(name)), gradient, tolerance * largest, name);
  }
  for (const auto& [name, values] : truth.running_values) {
    ExpectNear(Read(device, arena.value(name)), values, tolerance * (1 + LargestMagnitude(values)),
               name);
  }
}

template <typename Backend>
using NetworkTest = DeviceTest<Backend>;
TYPED_TEST_SUITE(NetworkTest, Backends);

TYPED_TEST(NetworkTest, StepOfEveryLayerMatchesFloat64) {
  for (const LayerGraph& graph : SmallGraphs()) {
    ExpectStepMatchesFloat64(*this->device_, graph, RandomBatch(graph, 4), 0.1f);
  }
}

TYPED_TEST(NetworkTest, StepOfRandomGraphsMatchesFloat64) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const LayerGraph graph = RandomGraph(seed);
    ExpectStepMatchesFloat64(*this->device_, graph, RandomBatch(graph, 3), 0.0f);
  }
}

double Norm(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

// Each of 2 L passes rounds what it stores by up to u = 2^-8 of it, and independently: sqrt(2 L) u,
// and the factor 4 for what batch norms amplify, as in RelativeTolerance. A gradient also changes
// altogether where a value lies so near to zero, or to a window's other maximum, that rounding
// takes it across: about a share u of the values, which is sqrt(u) of a gradient's norm, a layer.
TYPED_TEST(NetworkTest, StepInBFloat16StaysNearFloat64) {
  Device& device = *this->device_;
  std::vector<LayerGraph> graphs = SmallGraphs();
  for (uint64_t seed = 0; seed < 10; ++seed) graphs.push_back(RandomGraph(seed));
  for (const LayerGraph& graph : graphs) {
    SCOPED_TRACE(graph.name());
    const Float64Batch batch = RandomBatch(graph, 8);
    const Tensors tensors = RandomTensors(graph);
    const NetworkOptions options{.batch_size = 8, .seed = 5, .activations = DataType::kBFloat16};
    ParameterArena arena(device, graph.tensor_specs(), DataType::kFloat32, options.activations);
    Network network(graph, arena, options);
    Write(arena, tensors);
    arena.RoundValues();
    std::vector<BFloat16> images, logits(static_cast<size_t>(network.logits().size));
    for (const float pixel : batch.images) images.push_back(ToBFloat16(pixel));
    device.CopyFromHost(images.data(), network.images());
    device.CopyFromHost(batch.labels.data(), network.labels());
    network.ForwardBackward(1.0f / 8, 3);
    const Float64Result truth =
        EvaluateFloat64(graph, tensors, batch,
                        {.training = true,
                         .gradient_scale = 1.0 / 8,
                         .dropout_masks = DropoutMasks(device, graph, 8, options.seed, 3)});
    const double passes = 2 * static_cast<double>(graph.layers().size());
    const double forward = 4 * std::sqrt(passes) * kBFloat16Rounding;
    const double backward = forward + std::sqrt(passes / 2 * kBFloat16Rounding);
    const double logit_scale = 1 + LargestMagnitude(truth.logits);
    EXPECT_NEAR(network.ReadLoss().loss_sum, truth.loss_sum, 8 * forward * logit_scale);
    device.CopyToHost(network.logits(), logits.data());
    for (size_t i = 0; i < logits.size(); ++i) {
      ASSERT_NEAR(ToFloat(logits[i]), truth.logits[i], forward * logit_scale) << i;
    }
    std::vector<double> all, differences;
    for (const auto& [name, gradient] : truth.gradients) {
      const auto actual = Read(device, arena.gradient(name));
      for (size_t i = 0; i < actual.size(); ++i) {
        all.push_back(gradient[i]);
        differences.push_back(actual[i] - gradient[i]);
      }
    }
    EXPECT_LT(Norm(differences), backward * Norm(all));
    // It is not float32 after all.
    EXPECT_GT(Norm(differences), kBFloat16Rounding / 16 * Norm(all));
  }
}

TYPED_TEST(NetworkTest, BFloat16TakesAnArenaWithACopy) {
  const LayerGraph graph = SmallGraphs()[1];
  ParameterArena arena(*this->device_, graph.tensor_specs());
  EXPECT_THROW(Network(graph, arena, {.batch_size = 2, .activations = DataType::kBFloat16}), Error);
}

TYPED_TEST(NetworkTest, RowsWithoutLabelGiveNoGradient) {
  for (const LayerGraph& graph : SmallGraphs()) {
    Float64Batch batch = RandomBatch(graph, 4);
    batch.labels[1] = batch.labels[3] = -1;
    ExpectStepMatchesFloat64(*this->device_, graph, batch, 0.0f);
  }
}

TYPED_TEST(NetworkTest, ReuseOfMemoryChangesNoBit) {
  std::vector<LayerGraph> graphs = SmallGraphs();
  for (uint64_t seed = 0; seed < 100; ++seed) graphs.push_back(RandomGraph(seed));
  for (const LayerGraph& graph : graphs) {
    SCOPED_TRACE(graph.name());
    const Float64Batch batch = RandomBatch(graph, 3);
    std::vector<std::vector<float>> results;
    for (const bool reuse : {true, false}) {
      ParameterArena arena(*this->device_, graph.tensor_specs());
      Network network(graph, arena, {.batch_size = 3, .seed = 5, .reuse_memory = reuse});
      Write(arena, RandomTensors(graph));
      Write(*this->device_, network, batch);
      for (uint64_t step = 0; step < 2; ++step) network.ForwardBackward(0.5f, step);
      results.push_back(Read(*this->device_, arena.gradients()));
      results.push_back(Read(*this->device_, network.logits()));
      results.push_back(Read(*this->device_, arena.state()));
      if (reuse) {
        EXPECT_LE(network.activation_bytes(), network.activation_bytes_without_reuse());
      } else {
        EXPECT_EQ(network.activation_bytes(), network.activation_bytes_without_reuse());
      }
    }
    ASSERT_EQ(results[0], results[3]);
    ASSERT_EQ(results[1], results[4]);
    ASSERT_EQ(results[2], results[5]);
  }
}

TYPED_TEST(NetworkTest, InferenceMatchesFloat64AndSharesTheArena) {
  std::vector<LayerGraph> graphs = SmallGraphs();
  for (uint64_t seed = 0; seed < 20; ++seed) graphs.push_back(RandomGraph(seed));
  for (const LayerGraph& graph : graphs) {
    SCOPED_TRACE(graph.name());
    ParameterArena arena(*this->device_, graph.tensor_specs());
    Network training(graph, arena, {.batch_size = 4});
    Network inference(graph, arena, {.batch_size = 2, .training = false});
    EXPECT_LT(inference.activation_bytes(), training.activation_bytes());
    Write(*this->device_, training, RandomBatch(graph, 4));
    Write(arena, RandomTensors(graph));
    training.ForwardBackward(1.0f, 0);  // moves the running statistics
    this->device_->Synchronize();
    Tensors tensors;
    for (const TensorSpec& spec : graph.tensor_specs()) {
      tensors[spec.name] = Read(*this->device_, arena.value(spec.name));
    }
    auto expect_match = [&](Network& network, int64_t size) {
      const Float64Batch batch = RandomBatch(graph, size);
      Write(*this->device_, network, batch);
      network.Infer();
      const Float64Result truth = EvaluateFloat64(graph, tensors, batch, {.training = false});
      const double tolerance = RelativeTolerance(graph, 4) * (1 + LargestMagnitude(truth.logits));
      ExpectNear(Read(*this->device_, network.logits()), truth.logits, tolerance, "logits");
      EXPECT_NEAR(network.ReadLoss().loss_sum, truth.loss_sum,
                  static_cast<double>(size) * tolerance);
      EXPECT_EQ(network.ReadLoss().rows, size);
    };
    expect_match(inference, 2);
    expect_match(training, 4);
    for (const auto& [name, values] : tensors) {
      EXPECT_EQ(Read(*this->device_, arena.value(name)), values) << name;
    }
  }
}

TYPED_TEST(NetworkTest, GradientsAreOverwrittenAndScaled) {
  const LayerGraph graph = SmallGraphs()[1];
  ParameterArena arena(*this->device_, graph.tensor_specs());
  Network network(graph, arena, {.batch_size = 4});
  Write(arena, RandomTensors(graph));
  Write(*this->device_, network, RandomBatch(graph, 4));
  network.ForwardBackward(1.0f, 0);
  const std::vector<float> once = Read(*this->device_, arena.gradients());
  network.ForwardBackward(1.0f, 0);
  EXPECT_EQ(Read(*this->device_, arena.gradients()), once);
  network.ForwardBackward(0.25f, 0);  // a power of two scales every rounding with it
  std::vector<float> quarter = Read(*this->device_, arena.gradients());
  for (float& value : quarter) value *= 4;
  EXPECT_EQ(quarter, once);
}

TYPED_TEST(NetworkTest, KeepsTheLossesOfTheLastPasses) {
  const LayerGraph graph = SmallGraphs()[1];
  ParameterArena arena(*this->device_, graph.tensor_specs());
  Network network(graph, arena, {.batch_size = 4, .kept_losses = 3});
  Write(arena, RandomTensors(graph));
  Float64Batch batch = RandomBatch(graph, 4);
  std::vector<double> expected;
  for (uint64_t pass = 0; pass < 4; ++pass) {
    for (auto& pixel : batch.images) pixel *= pixel;
    Write(*this->device_, network, batch);
    network.ForwardBackward(1.0f, pass);
    expected.push_back(network.ReadLoss().loss_sum);
  }
  EXPECT_NE(expected[2], expected[3]);
  std::vector<double> losses;
  for (const LossResult& loss : network.ReadLosses(3)) losses.push_back(loss.loss_sum);
  EXPECT_EQ(losses, std::vector<double>(expected.begin() + 1, expected.end()));
}

TYPED_TEST(NetworkTest, DropoutChangesWithTheStepAndTheSeed) {
  const LayerGraph graph = SmallGraphs()[0];
  const Tensors tensors = RandomTensors(graph);
  auto gradients = [&](uint64_t seed, uint64_t step) {
    ParameterArena arena(*this->device_, graph.tensor_specs());
    Network network(graph, arena, {.batch_size = 4, .seed = seed});
    Write(arena, tensors);
    Write(*this->device_, network, RandomBatch(graph, 4));
    network.ForwardBackward(1.0f, step);
    return Read(*this->device_, arena.gradients());
  };
  EXPECT_EQ(gradients(1, 1), gradients(1, 1));
  EXPECT_NE(gradients(1, 1), gradients(1, 2));
  EXPECT_NE(gradients(1, 1), gradients(2, 1));
}

TYPED_TEST(NetworkTest, NamesTheFirstLayerThatIsNotFinite) {
  const LayerGraph graph = SmallGraphs()[1];
  for (const bool training : {true, false}) {
    ParameterArena arena(*this->device_, graph.tensor_specs());
    Network network(graph, arena, {.batch_size = 4, .training = training});
    Tensors tensors = RandomTensors(graph);
    Write(arena, tensors);
    Write(*this->device_, network, RandomBatch(graph, 4));
    EXPECT_EQ(network.FirstNonFiniteLayer(0), std::nullopt);
    if (training) {
      network.ForwardBackward(1.0f, 0);  // the batch must survive it
      Write(arena, tensors);
    }
    tensors["pad.conv2.weight"][5] = std::numeric_limits<float>::infinity();
    Write(arena, tensors);
    const std::vector<float> state = Read(*this->device_, arena.state());
    EXPECT_EQ(network.FirstNonFiniteLayer(0), "pad.conv2");
    EXPECT_EQ(Read(*this->device_, arena.state()), state);
    tensors["conv.weight"][0] = std::numeric_limits<float>::quiet_NaN();
    Write(arena, tensors);
    EXPECT_EQ(network.FirstNonFiniteLayer(0), "conv");
  }
}

TYPED_TEST(NetworkTest, TellsTheCallbackEveryLayer) {
  const LayerGraph graph = SmallGraphs()[4];
  ParameterArena arena(*this->device_, graph.tensor_specs());
  Network network(graph, arena, {.batch_size = 1});
  std::vector<std::pair<std::string, LayerPhase>> calls;
  network.set_layer_callback(
      [&](const std::string& layer, LayerPhase phase) { calls.emplace_back(layer, phase); });
  network.ForwardBackward(1.0f, 0);
  const std::vector<std::pair<std::string, LayerPhase>> expected = {
      {"fc", LayerPhase::kForward}, {"fc", LayerPhase::kLoss}, {"fc", LayerPhase::kBackward}};
  EXPECT_EQ(calls, expected);
  calls.clear();
  network.Infer();
  EXPECT_EQ(calls.size(), 2u);
  network.set_layer_callback({});
  network.Infer();
  EXPECT_EQ(calls.size(), 2u);
}

TYPED_TEST(NetworkTest, StepsAllocateNothing) {
  const LayerGraph graph = SmallGraphs()[3];
  ParameterArena arena(*this->device_, graph.tensor_specs());
  Network network(graph, arena, {.batch_size = 3});
  Write(*this->device_, network, RandomBatch(graph, 3));
  const int64_t before = this->device_->allocated_bytes();
  network.ForwardBackward(1.0f, 0);
  network.Infer();
  EXPECT_EQ(this->device_->allocated_bytes(), before);
}

TYPED_TEST(NetworkTest, RefusesWhatDoesNotFit) {
  const LayerGraph graph = SmallGraphs()[0], other = SmallGraphs()[1];
  ParameterArena arena(*this->device_, graph.tensor_specs());
  EXPECT_THROW(Network(other, arena, {.batch_size = 1}), Error);
  EXPECT_THROW(Network(graph, arena, {.batch_size = 0}), Error);
  LayerGraph wider("wider", {2, 2, 1}, 4);
  wider.Linear("fc", wider.Flatten("flatten", wider.image()), {.out_features = 4});
  ParameterArena narrow(*this->device_, SmallGraphs()[4].tensor_specs());
  EXPECT_THROW(Network(wider, narrow, {.batch_size = 1}), Error);
}

int64_t WorkspaceOf(const LayerGraph& graph, bool training) {
  const auto device = MakeCpuDevice(1);
  ParameterArena arena(*device, graph.tensor_specs());
  const Network network(graph, arena, {.batch_size = 8, .training = training});
  return device->workspace().size;
}

TEST(CpuNetwork, TakesNoWorkspaceForGradientsThatNobodyReads) {
  // Each gradient needs more than what is before it: 20, 31 and 41 MB with AVX-512.
  LayerGraph graph("one_convolution", {32, 32, 256}, 512);
  graph.GlobalAveragePool(
      "logits",
      graph.Convolution("a", graph.image(), {.out_channels = 512, .kernel = 3, .padding = 1}));
  ConvolutionShape shape = dynamic_cast<const ConvolutionLayer&>(*graph.layers()[0]).shape();
  shape.batch = 8;
  const auto planned = [&](const GradientUse& gradients) {
    const auto device = MakeCpuDevice(1);
    shape.gradients = gradients;
    device->MakeConvolution(shape);
    return device->workspace().size;
  };
  EXPECT_EQ(WorkspaceOf(graph, true), planned({.data = false, .weights = true}));
  EXPECT_EQ(WorkspaceOf(graph, false), planned({.data = false, .weights = false}));
}

}  // namespace
}  // namespace thinwire
