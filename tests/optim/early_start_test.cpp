// Gradients that are sent bucket by bucket before the step, as they are beside a backward pass.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/optim/method_cases.h"

namespace thinwire {
namespace {

constexpr double kRate = 0.01;
constexpr int64_t kSteps = 3;

/// Every rank's parameters after some steps, rank behind rank, the step's buckets sent early, the
/// last first, or in the step.
std::vector<double> Train(const OptimizerOptions& options, bool early) {
  constexpr int kRanks = 3;
  std::vector<std::vector<double>> ends(kRanks);
  ThreadGroup group(kRanks);
  group.Run([&](int rank) {
    const auto device = MakeTestDevice();
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, OddSpecs());
    SetStart(arena);
    const auto optimizer = MakeOptimizer(options, arena, *communicator);
    for (int64_t step = 0; step < kSteps; ++step) {
      optimizer->BeginStep(kRate);
      SetGradient(arena, rank, step);
      std::vector<Range> buckets = optimizer->buckets();
      EXPECT_EQ(buckets.size() > 1, options.bucket_elements > 0);
      std::reverse(buckets.begin(), buckets.end());
      for (const Range& bucket : buckets) {
        if (early) optimizer->StartEarly(bucket);
      }
      optimizer->Step(kRate, {});
    }
    ends[static_cast<size_t>(rank)] = Values(arena);
  });
  std::vector<double> all;
  for (const auto& end : ends) all.insert(all.end(), end.begin(), end.end());
  return all;
}

TEST(EarlyStartTest, AveragesAreTheSameBits) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  for (const char* method :
       {"sgd", "momentum", "adam", "amsgrad", "rmsprop", "signsgd", "onebit-adam"}) {
    for (const char* server : {"sharded", "central"}) {
      SCOPED_TRACE(std::string(method) + ", " + server);
      OptimizerOptions options{
          .name = method, .weight_decay = 0.01, .server = server, .freeze_steps = kSteps};
      const auto at_once = Train(options, false);
      for (const int64_t elements : {128, 1024}) {
        options.bucket_elements = elements;
        EXPECT_EQ(Train(options, true), at_once);
      }
    }
  }
}

TEST(EarlyStartTest, CompressedMessagesAreTheSameBits) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  for (const char* method : {"cd-adam", "naive-amsgrad", "ef-amsgrad", "ef21-bc", "ef21-sgdm",
                             "ef14", "ef-sgdm", "saef-sgdm", "onebit-adam", "signsgd-mv"}) {
    SCOPED_TRACE(method);
    const OptimizerOptions options{.name = method,
                                   .weight_decay = 0.01,
                                   .compressor = "sign",
                                   .scale_granularity = "tensor",
                                   .bucket_elements = 256,
                                   .error_average_period = 2,
                                   .freeze_steps = 1};
    EXPECT_EQ(Train(options, true), Train(options, false));
  }
}

/// A step of two ranks with buckets of 128 elements, of which `start` starts some early.
void TakeStep(const OptimizerOptions& options, bool scaled,
              const std::function<void(Optimizer&)>& start) {
  ThreadGroup group(2);
  group.Run([&](int rank) {
    const auto device = MakeTestDevice();
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, OddSpecs());
    const auto optimizer = MakeOptimizer(options, arena, *communicator);
    const TestBuffer<float> scale(*device, std::vector<float>{0.5f});
    optimizer->BeginStep(kRate);
    SetGradient(arena, rank, 0);
    start(*optimizer);
    optimizer->Step(kRate, scaled ? ConstView(scale) : ConstView());
  });
}

// What would be sent has been sent already, or is not all there.
TEST(EarlyStartTest, RefusesPartsAndScales) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const auto all = [](Optimizer& optimizer) {
    for (const Range& bucket : optimizer.buckets()) optimizer.StartEarly(bucket);
  };
  const auto some = [](Optimizer& optimizer) { optimizer.StartEarly(optimizer.buckets()[1]); };
  const auto other = [](Optimizer& optimizer) { optimizer.StartEarly({0, 128}); };
  const OptimizerOptions sgd{.name = "sgd", .bucket_elements = 128};
  const OptimizerOptions cd_adam{
      .name = "cd-adam", .scale_granularity = "tensor", .bucket_elements = 128};
  for (const OptimizerOptions& options : {sgd, cd_adam}) {
    EXPECT_NO_THROW(TakeStep(options, false, all)) << options.name;
    EXPECT_THROW(TakeStep(options, false, some), Error) << options.name;
    EXPECT_THROW(TakeStep(options, true, all), Error) << options.name;
  }
  EXPECT_THROW(TakeStep(cd_adam, false, other), Error) << "conv.weight is longer";
  EXPECT_THROW(TakeStep({.name = "cd-adam"}, false, other), Error) << "one scale for all";
}

// Buckets that are fine have been sent before the one that is not, but nothing came of them.
TEST(EarlyStartTest, ANonFiniteGradientNamesItsTensorAndParametersStay) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  for (const char* method : {"cd-adam", "ef-sgd", "ef14", "naive-amsgrad", "signsgd-mv"}) {
    ThreadGroup group(2);
    group.Run([&](int rank) {
      const auto device = MakeTestDevice();
      const auto communicator = group.Join(rank, *device);
      ParameterArena arena(*device, OddSpecs());
      SetStart(arena);
      const auto optimizer = MakeOptimizer({.name = method,
                                            .compressor = "sign",
                                            .scale_granularity = "tensor",
                                            .uncompressed_tensors = {"bias"},
                                            .bucket_elements = 256},
                                           arena, *communicator);
      optimizer->BeginStep(kRate);
      SetGradient(arena, rank, 0);
      const auto before = Values(arena);
      const float bad = std::numeric_limits<float>::infinity();
      device->CopyFromHost(&bad, arena.gradient("fc.weight").Slice(33, 1));
      std::vector<Range> buckets = optimizer->buckets();
      std::reverse(buckets.begin(), buckets.end());
      try {
        for (const Range& bucket : buckets) optimizer->StartEarly(bucket);
        optimizer->Step(kRate, {});
        optimizer->CheckStep();
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        const std::string what = error.what();
        EXPECT_EQ(what.find(fmt::format("step 1, rank {}: the gradient of fc.weight is NaN or "
                                        "infinite at element 33",
                                        rank)),
                  0u)
            << what;
      }
      EXPECT_EQ(Values(arena), before) << method;
    });
  }
}

}  // namespace
}  // namespace thinwire
