// Gradients that are averaged range by range before the step, as they are beside a backward pass.
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/optim/method_cases.h"

namespace thinwire {
namespace {

constexpr double kRate = 0.01;
constexpr int64_t kSteps = 3;

/// Every rank's parameters after some steps, rank behind rank; `bucket` elements at a time, the
/// last first, or (0) all at once in the step.
std::vector<double> Train(const std::string& method, const std::string& server, int ranks,
                          int64_t bucket) {
  std::vector<std::vector<double>> ends(static_cast<size_t>(ranks));
  ThreadGroup group(ranks);
  group.Run([&](int rank) {
    const auto device = MakeTestDevice();
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, OddSpecs());
    SetStart(arena);
    const auto optimizer = MakeOptimizer(
        {.name = method, .weight_decay = 0.01, .server = server, .freeze_steps = kSteps}, arena,
        *communicator);
    for (int64_t step = 0; step < kSteps; ++step) {
      optimizer->BeginStep(kRate);
      SetGradient(arena, rank, step);
      for (int64_t end = arena.padded_size(); bucket > 0 && end > 0; end -= bucket) {
        optimizer->AverageEarly({std::max<int64_t>(end - bucket, 0), end});
      }
      optimizer->Step(kRate, {});
    }
    ends[static_cast<size_t>(rank)] = Values(arena);
  });
  std::vector<double> all;
  for (const auto& end : ends) all.insert(all.end(), end.begin(), end.end());
  return all;
}

TEST(EarlyAverageTest, HasTheSameBits) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  for (const char* method :
       {"sgd", "momentum", "adam", "amsgrad", "rmsprop", "signsgd", "onebit-adam"}) {
    for (const char* server : {"sharded", "central"}) {
      SCOPED_TRACE(std::string(method) + ", " + server);
      const auto at_once = Train(method, server, 3, 0);
      EXPECT_EQ(Train(method, server, 3, 128), at_once);
      EXPECT_EQ(Train(method, server, 3, 1024), at_once);
    }
  }
}

// What would be sent has been sent already, or is not all there.
TEST(EarlyAverageTest, RefusesPartsAndScales) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const auto take_step = [](bool whole, bool scaled) {
    ThreadGroup group(2);
    group.Run([&](int rank) {
      const auto device = MakeTestDevice();
      const auto communicator = group.Join(rank, *device);
      ParameterArena arena(*device, OddSpecs());
      const auto optimizer = MakeOptimizer({.name = "sgd"}, arena, *communicator);
      const TestBuffer<float> scale(*device, std::vector<float>{0.5f});
      SetGradient(arena, rank, 0);
      optimizer->AverageEarly({whole ? 0 : 128, arena.padded_size()});
      optimizer->Step(kRate, scaled ? ConstView(scale) : ConstView());
    });
  };
  EXPECT_NO_THROW(take_step(true, false));
  EXPECT_THROW(take_step(false, false), Error);
  EXPECT_THROW(take_step(true, true), Error);
}

}  // namespace
}  // namespace thinwire
