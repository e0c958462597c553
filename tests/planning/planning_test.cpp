// What the real cuDNN plans for GPUs that need not be there, whose properties are given as JSON
// (device_properties/): every convolution of the models, forward and for the gradients that
// training uses, in float32 and bf16. "Planned" means that cuDNN's heuristics proposed engines, and
// that it built an execution plan of the first with the wanted numerics whose plan it could build.
// Nothing is executed or timed.
#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cuda/convolution_plan.h"
#include "kernels/error.h"
#include "layers/execution_plan.h"
#include "models/models.h"

namespace thinwire::cuda {
namespace {

struct Training {
  const char* model;
  int64_t batch;
};

// On CIFAR as the recipes; on ImageNet as is usual, and all on one GPU, which asks most of cuDNN.
constexpr std::array<Training, 8> kTrainings = {{{"resnet20", 128},
                                                 {"resnet18_cifar", 128},
                                                 {"vgg16_bn_cifar", 128},
                                                 {"wrn_16_4", 128},
                                                 {"wrn_28_10", 128},
                                                 {"resnet18", 256},
                                                 {"resnet50", 256},
                                                 {"vgg16_bn", 256}}};

struct Direction {
  ConvolutionDirection direction;
  const char* name;
};

constexpr std::array<Direction, 3> kDirections = {
    {{ConvolutionDirection::kForward, "forward"},
     {ConvolutionDirection::kData, "data gradient"},
     {ConvolutionDirection::kWeights, "weight gradient"}}};

struct Type {
  ConvolutionNumerics numerics;
  const char* name;
};

constexpr std::array<Type, 3> kTypes = {{{{.type = DataType::kFloat32}, "float32"},
                                         {{.type = DataType::kFloat32, .tf32 = true}, "TF32"},
                                         {{.type = DataType::kBFloat16}, "bf16"}}};

bool Uses(const ConvolutionShape& shape, ConvolutionDirection direction) {
  switch (direction) {
    case ConvolutionDirection::kForward:
      return true;
    case ConvolutionDirection::kData:
      return shape.gradients.data;
    case ConvolutionDirection::kWeights:
      return shape.gradients.weights;
  }
  return false;
}

/// All that cuDNN is told of a shape, which therefore tells equal ones.
std::string Describe(const ConvolutionShape& s) {
  return fmt::format("{}x{}x{}x{} -> {}, {}x{}, stride {}x{}, padding {}x{}, groups {}", s.batch,
                     s.height, s.width, s.in_channels, s.out_channels, s.kernel_height,
                     s.kernel_width, s.stride_height, s.stride_width, s.padding_height,
                     s.padding_width, s.groups);
}

/// A model's convolutions in its order, with the gradients that training uses, equal ones once.
std::vector<ConvolutionShape> DistinctConvolutions(const LayerGraph& graph, int64_t batch) {
  std::vector<ConvolutionShape> shapes;
  const auto gradients = GradientsOfLayers(graph, MakeExecutionPlan(graph, {.batch = batch}));
  for (size_t i = 0; i < gradients.size(); ++i) {
    const auto* convolution = dynamic_cast<const ConvolutionLayer*>(graph.layers()[i].get());
    if (convolution == nullptr) continue;
    ConvolutionShape shape = convolution->shape();
    shape.batch = batch;
    shape.gradients = gradients[i];
    const bool known = std::any_of(shapes.begin(), shapes.end(), [&](const auto& other) {
      return Describe(other) == Describe(shape);
    });
    if (!known) shapes.push_back(shape);
  }
  return shapes;
}

double Mebibytes(int64_t bytes) { return static_cast<double>(bytes) * 0x1p-20; }

std::string PropertiesOf(const std::string& device) {
  std::ifstream file(fmt::format("{}/{}.json", THINWIRE_DEVICE_PROPERTIES, device));
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Loads the driver's library, or the toolkit's stub of it, which has the driver's soname and thus
/// is what cuDNN finds in its place. Without either cuDNN does not propose some of its engines.
bool LoadDriver() {
  return dlopen("libcuda.so.1", RTLD_NOW) != nullptr ||
         dlopen(THINWIRE_DRIVER_STUB, RTLD_NOW) != nullptr;
}

class Planning : public testing::Test {
 protected:
  void SetUp() override {
    constexpr int64_t kFirstWithoutDevices = 90800;
    if (CudnnVersion() < kFirstWithoutDevices) {
      GTEST_SKIP() << "cuDNN " << CudnnVersion() << " plans for devices that are there alone";
    }
    if (!LoadDriver()) {
      GTEST_SKIP() << "there is neither a driver nor its stub, " << THINWIRE_DRIVER_STUB;
    }
  }

  static constexpr const Type& kFloat32 = kTypes[0];
  static constexpr ConvolutionShape kShape{.batch = 8,
                                           .height = 32,
                                           .width = 32,
                                           .in_channels = 16,
                                           .out_channels = 16,
                                           .kernel_height = 3,
                                           .kernel_width = 3,
                                           .padding_height = 1,
                                           .padding_width = 1};
};

class ModelPlanning : public Planning, public testing::WithParamInterface<const char*> {
 protected:
  struct Largest {
    int64_t bytes = 0;
    std::string graph = "none needs any";
  };

  /// Plans a graph, unless an equal one was, and prints what came out.
  const ConvolutionPlan* Plan(const ConvolutionShape& shape, const Type& type,
                              const std::string& graph, ConvolutionDirection direction) {
    const auto [known, is_new] = plans_.try_emplace(fmt::format("{:<8} {}", type.name, graph));
    auto& [description, plan] = *known;
    if (is_new) {
      try {
        plan = PlanConvolutionFor(properties_, shape, direction, type.numerics);
        fmt::print("{:<92} {:>9.3f} MiB  {:>2} candidates  {}{}\n", description,
                   Mebibytes(plan->workspace_bytes()), plan->candidates(), plan->name(),
                   plan->uses_tensor_cores() ? ", tensor cores" : "");
      } catch (const Error& error) {
        fmt::print("{:<92} not planned\n", description);
        ADD_FAILURE() << error.what();
      }
    }
    return plan.get();
  }

  const std::string properties_ = PropertiesOf(GetParam());

 private:
  std::map<std::string, std::unique_ptr<ConvolutionPlan>> plans_;  // null: there is none
};

TEST_P(ModelPlanning, EveryConvolutionHasAPlan) {
  std::string summary;
  for (const auto& [model, batch] : kTrainings) {
    const auto shapes = DistinctConvolutions(BuildModel(model, {}), batch);
    ASSERT_FALSE(shapes.empty()) << model;
    for (const Type& type : kTypes) {
      Largest largest;
      size_t planned = 0, used = 0, on_tensor_cores = 0;
      for (const ConvolutionShape& shape : shapes) {
        for (const auto& [direction, name] : kDirections) {
          if (!Uses(shape, direction)) continue;
          ++used;
          const std::string graph = fmt::format("{}, {}", Describe(shape), name);
          const ConvolutionPlan* plan = Plan(shape, type, graph, direction);
          if (plan == nullptr) continue;
          ++planned;
          if (plan->uses_tensor_cores()) ++on_tensor_cores;
          if (plan->workspace_bytes() > largest.bytes) largest = {plan->workspace_bytes(), graph};
        }
      }
      if (&type == &kFloat32) {
        EXPECT_EQ(on_tensor_cores, 0u) << model << ": TF32 is off";
      } else {
        EXPECT_GT(on_tensor_cores, used / 2) << model << " in " << type.name;
      }
      // Of three directions, all but the gradient of the image.
      EXPECT_EQ(used, 3 * shapes.size() - 1) << model;
      summary += fmt::format(
          "{:<14} {:<7}  {:>2} convolutions, {:>2} of {:>2} graphs planned, {:>2} on tensor cores, "
          "at most {:>8.3f} MiB "
          "({})\n",
          model, type.name, shapes.size(), planned, used, on_tensor_cores, Mebibytes(largest.bytes),
          largest.graph);
    }
  }
  const auto device = nlohmann::json::parse(properties_);
  const int64_t architecture = device.at("deviceVer").get<int64_t>() / 10, version = CudnnVersion();
  fmt::print("\n{}, sm_{}, cuDNN {}.{}.{}\n{}", device.at("deviceName").get<std::string>(),
             architecture, version / 10000, version / 100 % 100, version % 100, summary);
  std::fflush(stdout);  // gtest's own lines come from another buffer
}

INSTANTIATE_TEST_SUITE_P(Device, ModelPlanning, testing::Values("a100", "l40s", "h100", "b200"),
                         [](const auto& device) { return std::string(device.param); });

using ErrorPlanning = Planning;

/// Expects an Error of one line that has `part` in it.
void ExpectRefused(const std::string& properties, const ConvolutionShape& shape,
                   const std::string& part) {
  try {
    PlanConvolutionFor(properties, shape, ConvolutionDirection::kForward, {});
    ADD_FAILURE() << "planned " << Describe(shape);
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST_F(ErrorPlanning, RefusesBrokenProperties) {
  const auto valid = nlohmann::json::parse(PropertiesOf("h100"));
  auto unknown_architecture = valid, incomplete = valid;
  unknown_architecture["deviceVer"] = 0;
  incomplete.erase("multiProcessorCount");
  const std::string text = valid.dump();
  for (const std::string& broken :
       {std::string(), text.substr(0, text.size() / 2), std::string("[]"), incomplete.dump(),
        unknown_architecture.dump()}) {
    SCOPED_TRACE(broken);
    ExpectRefused(broken, kShape, "8x32x32x16 -> 16");
  }
}

TEST_F(ErrorPlanning, RefusesConvolutionsThatAreNone) {
  std::vector<ConvolutionShape> shapes(5, kShape);
  shapes[0].in_channels = 0;
  shapes[1].out_channels = 0;
  shapes[2].stride_width = 0;
  shapes[3].groups = 3;
  shapes[4].kernel_height = 35;
  for (const ConvolutionShape& shape : shapes) {
    SCOPED_TRACE(Describe(shape));
    ExpectRefused(
        PropertiesOf("h100"), shape,
        fmt::format("[8, 32, 32, {}] to {} channels", shape.in_channels, shape.out_channels));
  }
}

TEST_F(ErrorPlanning, RefusesConvolutionsThatCudnnCannot) {
  ConvolutionShape shape = kShape;
  shape.batch = 0;
  ExpectRefused(PropertiesOf("h100"), shape, "0x32x32x16 -> 16");
  shape = kShape;
  shape.height = int64_t{1} << 33;
  ExpectRefused(PropertiesOf("h100"), shape, "8x8589934592x32x16 -> 16");
}

TEST_F(ErrorPlanning, APlanWithoutADeviceDoesNotExecute) {
  const auto plan =
      PlanConvolutionFor(PropertiesOf("h100"), kShape, ConvolutionDirection::kForward, {});
  EXPECT_THROW(plan->Execute(nullptr, nullptr, nullptr, nullptr), Error);
}

}  // namespace
}  // namespace thinwire::cuda
