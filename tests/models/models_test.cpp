#include "models/models.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "kernels/error.h"
#include "layers/initialization.h"
#include "layers/layer_table.h"
#include "layers/network.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

int64_t CountOf(const std::string& name, const ModelOptions& options) {
  return BuildModel(name, options).parameter_count();
}

int64_t CountOf(const std::string& name, int64_t classes = 10) {
  return CountOf(name, {.classes = classes});
}

TEST(Models, HaveTheLiteraturesParameters) {
  EXPECT_EQ(CountOf("resnet18_cifar"), 11'173'962);
  EXPECT_EQ(CountOf("resnet34_cifar"), 21'282'122);
  EXPECT_EQ(CountOf("resnet50_cifar"), 23'520'842);
  EXPECT_EQ(CountOf("vgg16_bn_cifar"), 14'728'266);
  EXPECT_EQ(CountOf("wrn_16_4"), 2'748'890);
  EXPECT_EQ(CountOf("wrn_28_10"), 36'479'194);
  EXPECT_EQ(CountOf("resnet20"), 269'722);
  EXPECT_EQ(CountOf("lenet"), 61'706);
  // torchvision's, with 1000 classes.
  EXPECT_EQ(CountOf("resnet18", 1000), 11'689'512);
  EXPECT_EQ(CountOf("resnet34", 1000), 21'797'672);
  EXPECT_EQ(CountOf("resnet50", 1000), 25'557'032);
  EXPECT_EQ(CountOf("resnet101", 1000), 44'549'160);
  EXPECT_EQ(CountOf("resnet152", 1000), 60'192'808);
  EXPECT_EQ(CountOf("wide_resnet50_2", 1000), 68'883'240);
  EXPECT_EQ(CountOf("wide_resnet101_2", 1000), 126'886'696);
  EXPECT_EQ(CountOf("vgg11_bn", 1000), 132'868'840);
  EXPECT_EQ(CountOf("vgg13_bn", 1000), 133'053'736);
  EXPECT_EQ(CountOf("vgg16_bn", 1000), 138'365'992);
  EXPECT_EQ(CountOf("vgg19_bn", 1000), 143'678'248);
}

TEST(Models, CifarResNetsFollowTheirFormula) {
  auto block = [](int64_t in, int64_t out) { return 9 * in * out + 9 * out * out + 4 * out; };
  for (const int64_t depth : {20, 32, 44, 56, 110}) {
    const int64_t n = (depth - 2) / 6;
    int64_t expected = 9 * 3 * 16 + 2 * 16 + 64 * 10 + 10;
    expected += n * block(16, 16);
    expected += block(16, 32) + (n - 1) * block(32, 32);
    expected += block(32, 64) + (n - 1) * block(64, 64);
    const std::string name = fmt::format("resnet{}", depth);
    EXPECT_EQ(CountOf(name), expected) << name;
    const int64_t projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64;
    EXPECT_EQ(CountOf(name, {.shortcut = 'B'}), expected + projections) << name;
  }
}

TEST(Models, WideResNetsFollowTheirFormula) {
  for (const int64_t depth : {10, 16, 22, 40}) {
    for (const int64_t width : {1, 2, 8}) {
      int64_t expected = 9 * 3 * 16, in = 16;
      for (const int64_t base : {16, 32, 64}) {
        const int64_t out = base * width;
        for (int64_t i = 0; i < (depth - 4) / 6; ++i) {
          expected += 2 * in + 9 * in * out + 2 * out + 9 * out * out;
          if (in != out) expected += in * out;
          in = out;
        }
      }
      expected += 2 * in + in * 10 + 10;
      const std::string name = fmt::format("wrn_{}_{}", depth, width);
      EXPECT_EQ(CountOf(name), expected) << name;
    }
  }
}

TEST(Models, ForwardOperationsAreTheLiteratures) {
  // Multiply-adds of the convolutions and linear layers: fvcore counts 1.814 G for ResNet-18 and
  // 4.089 G for ResNet-50 at 224x224; batch norms and the rest add below 2 %.
  EXPECT_NEAR(static_cast<double>(BuildModel("resnet18", {.classes = 1000}).forward_flops()),
              2 * 1.814e9, 0.02 * 2 * 1.814e9);
  EXPECT_NEAR(static_cast<double>(BuildModel("resnet50", {.classes = 1000}).forward_flops()),
              2 * 4.089e9, 0.02 * 2 * 4.089e9);
}

TEST(Models, TensorsAreNamedAsInPyTorch) {
  const std::map<std::string, std::vector<std::string>> expected = {
      {"resnet20",
       {"conv1.weight", "bn1.running_var", "layer3.2.conv2.weight", "layer3.2.bn2.bias",
        "linear.bias"}},
      {"resnet18",
       {"conv1.weight", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias",
        "layer4.1.bn2.weight", "fc.weight"}},
      {"resnet50",
       {"layer1.0.downsample.0.weight", "layer3.5.conv3.weight", "layer4.2.bn3.weight"}},
      {"vgg16_bn",
       {"features.0.bias", "features.1.running_mean", "features.40.weight", "features.41.weight",
        "classifier.0.weight", "classifier.3.bias", "classifier.6.weight"}},
      {"vgg16_bn_cifar", {"features.0.bias", "features.41.weight", "classifier.weight"}},
      {"wrn_16_4",
       {"conv1.weight", "block1.layer.0.bn1.weight", "block1.layer.0.convShortcut.weight",
        "block3.layer.1.conv2.weight", "bn1.weight", "fc.bias"}},
  };
  for (const auto& [model, names] : expected) {
    std::set<std::string> present;
    for (const TensorSpec& spec : BuildModel(model, {}).tensor_specs()) {
      EXPECT_TRUE(present.insert(spec.name).second) << spec.name << " twice";
    }
    for (const std::string& name : names) EXPECT_TRUE(present.count(name)) << model << " " << name;
  }
  const LayerGraph projected = BuildModel("resnet20", {.shortcut = 'B'});
  const auto specs = projected.tensor_specs();
  for (const char* name : {"layer2.0.shortcut.0.weight", "layer3.0.shortcut.1.running_mean"}) {
    EXPECT_TRUE(std::any_of(specs.begin(), specs.end(), [&](const TensorSpec& spec) {
      return spec.name == name;
    })) << name;
  }
}

TEST(Models, BottlenecksHaveTheirStrideOnThe3x3Convolution) {
  const LayerGraph graph = BuildModel("resnet50", {});
  for (const auto& layer : graph.layers()) {
    if (layer->name() == "layer2.0.conv1") {
      EXPECT_EQ(layer->output_shape().height, 56);
    }
    if (layer->name() == "layer2.0.conv2") {
      EXPECT_EQ(layer->output_shape().height, 28);
    }
  }
}

TEST(Models, FlattenedImagesAreRemembered) {
  auto spec = [](const std::string& model, const std::string& name) {
    for (const TensorSpec& tensor : BuildModel(model, {}).tensor_specs()) {
      if (tensor.name == name) return tensor;
    }
    return TensorSpec{};
  };
  EXPECT_EQ(spec("vgg16_bn", "classifier.0.weight").flattened_from,
            (std::vector<int64_t>{7, 7, 512}));
  EXPECT_EQ(spec("lenet", "fc1.weight").flattened_from, (std::vector<int64_t>{5, 5, 16}));
  EXPECT_EQ(spec("mlp", "fc1.weight").flattened_from, (std::vector<int64_t>{28, 28, 1}));
  EXPECT_TRUE(spec("vgg16_bn_cifar", "classifier.weight").flattened_from.empty());
}

TEST(Models, EachPlansItsMemory) {
  for (const std::string& name : ModelNames()) {
    const LayerTotals totals = TotalsOf(BuildModel(name, {}), 2);
    EXPECT_LT(totals.training_bytes, totals.training_bytes_without_reuse) << name;
    EXPECT_LT(totals.inference_bytes, totals.inference_bytes_without_reuse) << name;
    EXPECT_LT(totals.inference_bytes, totals.training_bytes) << name;
  }
}

TEST(Models, OptionsChangeTheModel) {
  const LayerGraph wide = BuildModel("wrn_16_4", {.dropout = 0.3});
  const LayerGraph plain = BuildModel("wrn_16_4", {});
  EXPECT_EQ(wide.layers().size(), plain.layers().size() + 6);
  const LayerGraph lenet = BuildModel("lenet", {.height = 32, .width = 32, .channels = 3});
  EXPECT_EQ(lenet.image_shape(), (ImageShape{32, 32, 3}));
  EXPECT_EQ(lenet.parameter_count(), 62'006);
  EXPECT_EQ(BuildModel("resnet20", {.classes = 100}).classes(), 100);
  EXPECT_EQ(BuildModel("vgg16_bn", {.dropout = 0}).layers().size() + 2,
            BuildModel("vgg16_bn", {}).layers().size());
}

TEST(Models, UsageErrorsSayWhatToDo) {
  auto expect_usage = [](const std::string& name, const ModelOptions& options,
                         const std::string& part) {
    try {
      BuildModel(name, options);
      FAIL() << "no error for " << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kUsage) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect_usage("resnet81", {}, "resnet");
  expect_usage("", {}, "unknown model");
  expect_usage("wrn_17_4", {}, "D = 10, 16, 22");
  expect_usage("wrn_16_0", {}, "D = 10, 16, 22");
  expect_usage("wrn_16", {}, "unknown model wrn_16");
  expect_usage("wrn_16_4x", {}, "unknown model");
  expect_usage("wrn_99999999999999999999_4", {}, "unknown model");
  expect_usage("resnet20", {.shortcut = 'C'}, "shortcut C");
  expect_usage("resnet20", {.dropout = 0.5}, "no dropout");
  expect_usage("wrn_16_4", {.dropout = 1}, "out of range");
  expect_usage("vgg16_bn_cifar", {.height = 8}, "use larger images");
  expect_usage("lenet", {.height = 8, .width = 8}, "use larger images");
  expect_usage("resnet20", {.classes = 0}, "at least 1");
  expect_usage("resnet20", {.height = -3}, "at least 1");
}

template <typename Backend>
using ModelsTest = DeviceTest<Backend>;
TYPED_TEST_SUITE(ModelsTest, Backends);

/// Small enough for every build: the CIFAR and MNIST models of up to 3 million parameters.
TYPED_TEST(ModelsTest, TrainAndInfer) {
  for (const std::string& name : ModelNames()) {
    const LayerGraph graph = BuildModel(name, {});
    if (graph.parameter_count() > 3'000'000 || graph.image_shape().height > 32) continue;
    SCOPED_TRACE(name);
    ParameterArena arena(*this->device_, graph.tensor_specs());
    InitializeParameters(graph, arena, 1);
    Network training(graph, arena, {.batch_size = 2});
    Network inference(graph, arena, {.batch_size = 2, .training = false});
    const std::vector<float> images = RandomNormal(2 * graph.image_shape().size(), 3);
    const std::vector<int32_t> labels = {1, 7};
    for (Network* network : {&training, &inference}) {
      this->device_->CopyFromHost(images.data(), network->images());
      this->device_->CopyFromHost(labels.data(), network->labels());
    }
    training.ForwardBackward(0.5f, 0);
    EXPECT_TRUE(std::isfinite(training.ReadLoss().loss_sum));
    EXPECT_EQ(this->device_->FirstNonFinite(arena.gradients()), -1);
    inference.Infer();
    EXPECT_TRUE(std::isfinite(inference.ReadLoss().loss_sum));
    EXPECT_EQ(inference.ReadLoss().rows, 2);
  }
}

}  // namespace
}  // namespace thinwire
