// What a rank says of another's message of signs that it cannot mean.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/optim/method_cases.h"

namespace thinwire {
namespace {

constexpr int64_t kWordBytes = 16;  // of a shard: 128 of 256 parameters

/// Sends rank 1's messages of a step in which its scale and its shard's sum are these.
void SendMessages(Device& device, Communicator& communicator, float scale, double sum) {
  constexpr int64_t kBytes = kWordBytes + sizeof(float);
  const Buffer message = device.Allocate(2 * kBytes), incoming = device.Allocate(2 * kBytes),
               sums = device.Allocate(2 * sizeof(double));
  for (const int64_t start : {int64_t{0}, kBytes}) {
    device.CopyFromHost(&scale,
                        {message.view(DataType::kUint8).as<std::byte>() + start + kWordBytes, 1,
                         DataType::kFloat32});
  }
  const View own_sum = sums.view(DataType::kFloat64).Slice(1, 1);
  device.CopyFromHost(&sum, own_sum);
  const std::vector<int64_t> lengths(2, kBytes), ones(2, 1), words(2, kWordBytes);
  communicator.AllToAll(message.view(DataType::kUint8), lengths, incoming.view(DataType::kUint8),
                        lengths, Purpose::kUplink);
  communicator.AllGather(own_sum, sums.view(DataType::kFloat64), ones, Purpose::kDownlink);
  communicator.AllGather(message.view(DataType::kUint8).Slice(0, kWordBytes),
                         incoming.view(DataType::kUint8).Slice(0, 2 * kWordBytes), words,
                         Purpose::kDownlink);
}

/// A step of CD-Adam on rank 0, whose parameters stay as they are if it throws.
void TakeStep(Device& device, Communicator& communicator) {
  ParameterArena arena(device, {{"weights", TensorRole::kLinearWeight, {256}, {}}});
  SetStart(arena);
  const std::vector<double> start = Values(arena);
  const auto optimizer = MakeOptimizer({.name = "cd-adam"}, arena, communicator);
  SetGradient(arena, 0, 0);
  try {
    optimizer->Step(0.1, {});
    optimizer->CheckStep();
  } catch (const Error&) {
    EXPECT_EQ(Values(arena), start);
    throw;
  }
  EXPECT_NE(Values(arena), start);
}

/// What rank 0 says by the end of that step.
std::string StepWith(float scale, double sum) {
  ThreadGroup group(2);
  try {
    group.Run([&](int rank) {
      const auto device = MakeTestDevice();
      const auto communicator = group.Join(rank, *device);
      if (rank == 0) {
        TakeStep(*device, *communicator);
      } else {
        SendMessages(*device, *communicator, scale, sum);
      }
    });
  } catch (const Error& error) {
    const std::string said = error.what();
    return said.substr(0, said.find(';'));  // the remedy follows
  }
  return "";
}

TEST(SignMessageTest, IsNotTrusted) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  EXPECT_EQ(StepWith(0.5f, 3), "");
  EXPECT_EQ(StepWith(0, -0.0), "");
  for (const float scale : {-0.5f, INFINITY, NAN}) {
    EXPECT_EQ(StepWith(scale, 3),
              "step 1: a scale in rank 1's message of signs is negative or not a number");
  }
  const std::string wrong_sum = "step 1: rank 1 says that the magnitudes of its shard sum to ";
  EXPECT_EQ(StepWith(0.5f, -3), wrong_sum + "-3");
  EXPECT_EQ(StepWith(0.5f, INFINITY), wrong_sum + "inf");
}

}  // namespace
}  // namespace thinwire
