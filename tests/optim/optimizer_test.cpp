// Every method against float64 formulas, and what all methods promise.
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/optim/reference_optimizer.h"

namespace thinwire {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

/// Odd sizes, so that padding lies behind most tensors; weights are to be decayed, the rest not.
std::vector<TensorSpec> Specs() {
  return {{"conv.weight", TensorRole::kConvolutionFilter, {3, 3, 3, 5}, {}},
          {"bn.weight", TensorRole::kBatchNormScale, {31}, {}},
          {"bn.bias", TensorRole::kBatchNormShift, {1}, {}},
          {"bn.running_mean", TensorRole::kRunningMean, {31}, {}},
          {"fc.weight", TensorRole::kLinearWeight, {127, 33}, {}},
          {"fc.bias", TensorRole::kBias, {128}, {}}};
}

class OptimizerTest : public ::testing::Test {
 protected:
  ParameterArena MakeArena() { return ParameterArena(*device_, Specs()); }

  std::vector<float> Read(ConstView view) {
    std::vector<float> values(static_cast<size_t>(view.size));
    device_->CopyToHost(view, values.data());
    return values;
  }
  void Write(const std::vector<float>& values, View view) {
    device_->CopyFromHost(values.data(), view);
  }

  /// Normal values in the tensors, zeros in the padding.
  std::vector<float> RandomVector(const ParameterArena& arena, uint64_t seed) {
    std::vector<float> values(static_cast<size_t>(arena.padded_size()));
    for (const Segment& segment : arena.segments()) {
      const std::vector<float> random = RandomNormal(segment.size, seed + segment.offset);
      std::copy(random.begin(), random.end(), values.begin() + segment.offset);
    }
    return values;
  }

  std::unique_ptr<Device> device_ = CpuBackend::Make();
  std::unique_ptr<Communicator> communicator_ = MakeSingleCommunicator(*device_);
};

/// Those that send what they have as it is; tests/optim/distributed_test.cpp has the others.
const std::vector<std::string> kUncompressed = {
    "sgd", "momentum", "nesterov", "adam", "adamw", "amsgrad", "rmsprop", "rmspropw", "signsgd"};

struct Case {
  std::string label;
  OptimizerOptions options;
};

void PrintTo(const Case& method, std::ostream* out) { *out << method.label; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const std::string& name : kUncompressed) {
    cases.push_back({name, {.name = name}});
    cases.push_back({name + "_decay", {.name = name, .weight_decay = 0.05}});
    cases.push_back({name + "_decay_weights_only",
                     {.name = name, .weight_decay = 0.05, .decay_norm_and_bias = false}});
  }
  for (const std::string name : {"rmsprop", "rmspropw", "signsgd", "momentum", "nesterov"}) {
    cases.push_back({name + "_momentum", {.name = name, .momentum = 0.7, .weight_decay = 0.05}});
  }
  cases.push_back({"momentum_zero", {.name = "momentum", .momentum = 0}});
  cases.push_back({"adam_betas", {.name = "adam", .beta1 = 0.5, .beta2 = 0.9, .epsilon = 0.01}});
  cases.push_back({"amsgrad_betas", {.name = "amsgrad", .beta2 = 0.9, .epsilon = 0.01}});
  cases.push_back({"amsgrad_corrected", {.name = "amsgrad", .amsgrad_form = "corrected"}});
  cases.push_back({"rmsprop_alpha", {.name = "rmsprop", .epsilon = 0.01, .alpha = 0.5}});
  return cases;
}

class MethodTest : public OptimizerTest, public ::testing::WithParamInterface<Case> {};

INSTANTIATE_TEST_SUITE_P(All, MethodTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.label; });

// Tolerance. A step rounds x once (half an epsilon of |x|) and the change with the state behind it.
// A state is an average of decay at most 0.9, so it carries the rounding of about 1 / (1 - 0.9) =
// 10 steps of at most one epsilon each, and the expression around it rounds some six times more:
// 16 epsilons of the largest change are more than a step can be off. Errors add up over steps.
TEST_P(MethodTest, FollowsFloat64Formula) {
  constexpr int kSteps = 20;
  constexpr double kLearningRate = 0.01;
  ParameterArena arena = MakeArena();
  const std::vector<float> start = RandomVector(arena, 1);
  Write(start, arena.values());
  const auto optimizer = MakeOptimizer(GetParam().options, arena, *communicator_);

  std::vector<bool> decayed(start.size(), GetParam().options.decay_norm_and_bias);
  std::fill(decayed.begin(), decayed.begin() + arena.decayed_size(), true);
  ReferenceOptimizer reference(GetParam().options, {start.begin(), start.end()}, decayed);

  for (int step = 0; step < kSteps; ++step) {
    // Rates and gradients' sizes change, so that a step is not the same as the one before.
    const double rate = kLearningRate * (1 + step % 3);
    std::vector<float> gradient = RandomVector(arena, 1000 + step);
    for (float& value : gradient) value *= step % 2 == 0 ? 1.0f : 0.25f;
    Write(gradient, arena.gradients());
    optimizer->Step(rate, {});
    reference.Step(rate, {gradient.begin(), gradient.end()});
  }

  EXPECT_EQ(optimizer->step(), kSteps);
  EXPECT_GT(reference.largest_change(), 0);
  const std::vector<float> x = Read(arena.values());
  const double tolerance =
      kSteps * kEpsilon * (reference.largest_value() / 2 + 16 * reference.largest_change());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(x[i], reference.x()[i], tolerance) << "element " << i;
  }
}

TEST_P(MethodTest, LeavesPaddingZero) {
  ParameterArena arena = MakeArena();
  Write(RandomVector(arena, 1), arena.values());
  const auto optimizer = MakeOptimizer(GetParam().options, arena, *communicator_);
  for (int step = 0; step < 3; ++step) {
    Write(RandomVector(arena, 1000 + step), arena.gradients());
    optimizer->Step(0.01, {});
  }
  std::vector<bool> padding(static_cast<size_t>(arena.padded_size()), true);
  for (const Segment& segment : arena.segments()) {
    std::fill_n(padding.begin() + segment.offset, segment.size, false);
  }
  const auto check = [&](const std::string& what, ConstView view) {
    const std::vector<float> values = Read(view);
    ASSERT_EQ(values.size(), padding.size()) << what;
    for (size_t i = 0; i < values.size(); ++i) {
      if (padding[i]) {
        ASSERT_EQ(values[i], 0.0f) << what << " at " << i;
      }
    }
  };
  check("values", arena.values());
  for (const OptimizerState& state : optimizer->state()) check(state.name, state.values);
}

// Half a gradient is exact in float32, so both ways round alike.
TEST_P(MethodTest, GradientScaleIsTheSameAsAScaledGradient) {
  ParameterArena scaled = MakeArena(), plain = MakeArena();
  for (ParameterArena* arena : {&scaled, &plain}) Write(RandomVector(*arena, 1), arena->values());
  const auto scaled_optimizer = MakeOptimizer(GetParam().options, scaled, *communicator_);
  const auto plain_optimizer = MakeOptimizer(GetParam().options, plain, *communicator_);
  TestBuffer<float> half(*device_, std::vector<float>{0.5f});
  for (int step = 0; step < 3; ++step) {
    std::vector<float> gradient = RandomVector(scaled, 1000 + step);
    Write(gradient, scaled.gradients());
    for (float& value : gradient) value *= 0.5f;
    Write(gradient, plain.gradients());
    scaled_optimizer->Step(0.01, half.view());
    plain_optimizer->Step(0.01, {});
  }
  EXPECT_EQ(Read(scaled.values()), Read(plain.values()));
}

TEST_P(MethodTest, ContinuesBitForBitFromCopiedState) {
  ParameterArena arena = MakeArena(), copy = MakeArena();
  Write(RandomVector(arena, 1), arena.values());
  const auto optimizer = MakeOptimizer(GetParam().options, arena, *communicator_);
  for (int step = 0; step < 5; ++step) {
    Write(RandomVector(arena, 1000 + step), arena.gradients());
    optimizer->Step(0.01, {});
  }

  const auto fresh = MakeOptimizer(GetParam().options, copy, *communicator_);
  Write(Read(arena.values()), copy.values());
  const std::vector<OptimizerState> from = optimizer->state(), to = fresh->state();
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    Write(Read(from[i].values), to[i].values);
  }
  fresh->set_step(optimizer->step());

  for (int step = 5; step < 10; ++step) {
    for (ParameterArena* each : {&arena, &copy}) {
      Write(RandomVector(*each, 1000 + step), each->gradients());
    }
    optimizer->Step(0.01, {});
    fresh->Step(0.01, {});
  }
  EXPECT_EQ(Read(arena.values()), Read(copy.values()));
  EXPECT_EQ(optimizer->step(), fresh->step());
}

TEST_F(OptimizerTest, ParametersWithoutGradientStayPut) {
  for (const std::string& name : kUncompressed) {
    ParameterArena arena = MakeArena();
    const std::vector<float> start = RandomVector(arena, 1);
    Write(start, arena.values());
    // With epsilon 0 the first step is 0/0, which counts as 0.
    const auto optimizer =
        MakeOptimizer({.name = name, .epsilon = name == "amsgrad" ? 0.0 : 1e-8}, arena,
                      *communicator_);
    for (int step = 0; step < 3; ++step) optimizer->Step(0.1, {});
    EXPECT_EQ(Read(arena.values()), start) << name;
  }
}

TEST_F(OptimizerTest, StatesAreNamed) {
  ParameterArena arena = MakeArena();
  const auto names = [&](const OptimizerOptions& options) {
    std::vector<std::string> result;
    const auto optimizer = MakeOptimizer(options, arena, *communicator_);
    for (const OptimizerState& state : optimizer->state()) result.push_back(state.name);
    return result;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({.name = "sgd"}), Names{});
  EXPECT_EQ(names({.name = "momentum", .momentum = 0}), Names{});
  EXPECT_EQ(names({.name = "nesterov"}), Names{"momentum"});
  EXPECT_EQ(names({.name = "adamw"}), (Names{"momentum", "variance"}));
  EXPECT_EQ(names({.name = "amsgrad"}), (Names{"momentum", "variance", "max_variance"}));
  EXPECT_EQ(names({.name = "rmsprop"}), Names{"variance"});
  EXPECT_EQ(names({.name = "rmspropw", .momentum = 0.9}), (Names{"variance", "momentum"}));
  EXPECT_EQ(names({.name = "signsgd"}), Names{});
}

TEST_F(OptimizerTest, ModelWithoutWeightsOrWithoutTheRest) {
  for (const TensorRole role : {TensorRole::kLinearWeight, TensorRole::kBias}) {
    ParameterArena arena(*device_, {{"only", role, {5}, {}}});
    const std::vector<float> ones(static_cast<size_t>(arena.padded_size()), 1.0f);
    Write(ones, arena.values());
    const auto optimizer =
        MakeOptimizer({.name = "sgd", .weight_decay = 0.5, .decay_norm_and_bias = false}, arena,
                      *communicator_);
    optimizer->Step(0.5, {});
    EXPECT_EQ(Read(arena.values())[0], role == TensorRole::kBias ? 1.0f : 0.75f);
  }
}

/// The message of the usage error that making an optimizer throws; "" if it throws none.
std::string UsageError(const OptimizerOptions& options, ParameterArena& arena) {
  const auto communicator = MakeSingleCommunicator(arena.device());
  try {
    MakeOptimizer(options, arena, *communicator);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::kUsage);
    return error.what();
  }
  return "";
}

TEST_F(OptimizerTest, RefusesWhatItCannotDo) {
  ParameterArena arena = MakeArena();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect = [&](const OptimizerOptions& options, const std::string& part) {
    const std::string message = UsageError(options, arena);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expect({.name = "adamv"}, "adam");
  expect({.name = "momentum", .momentum = 1.0}, "momentum is 1");
  expect({.name = "sgd", .momentum = 0.9}, "nesterov");
  expect({.name = "adam", .beta1 = -0.1}, "beta1");
  expect({.name = "adam", .beta2 = 1.0}, "beta2");
  expect({.name = "adam", .epsilon = nan}, "eps");
  expect({.name = "rmsprop", .alpha = nan}, "alpha");
  expect({.name = "sgd", .weight_decay = -1}, "weight-decay");
  expect({.name = "amsgrad", .amsgrad_form = "papper"}, "paper");
  EXPECT_EQ(UsageError({.name = "sgd", .momentum = 0.0}, arena), "");
}

}  // namespace
}  // namespace thinwire
