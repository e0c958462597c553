// Work that is put off and replayed does what it does at once.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/finite_checks.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

constexpr int64_t kSize = 1000;

/// Vectors that steps of all kinds of work change.
struct Vectors {
  explicit Vectors(Device& device)
      : x(device, RandomNormal(kSize, 1)),
        y(device, RandomNormal(kSize, 2)),
        gradient(device, RandomNormal(kSize, 3)),
        momentum(device, kSize),
        variance(device, kSize),
        indices(device, {2, 77, 999}) {}
  std::vector<float> Read() const {
    std::vector<float> all;
    for (const TestBuffer<float>* buffer : {&x, &y, &gradient, &momentum, &variance}) {
      const std::vector<float> values = buffer->Read();
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  TestBuffer<float> x, y, gradient, momentum, variance;
  TestBuffer<int32_t> indices;
};

/// A step whose learning rates, counts and dropped elements are the step's own.
void Enqueue(Device& device, const Vectors& v, int step) {
  const double rate = 0.1 / (1 + step);
  device.Dropout(v.gradient, 0.5f, 7, static_cast<uint64_t>(step), v.y);
  device.Add(v.y, v.gradient, false, v.gradient);
  device.Evaluate({.values = v.y, .factor = rate, .added = v.gradient}, 0.5, v.x);
  AdamUpdate adam;
  adam.common.learning_rate = rate;
  adam.step = step + 1;
  device.Update(adam, v.gradient, v.momentum, v.variance, {}, v.x);
  MomentumUpdate momentum{.common = {.learning_rate = rate}, .momentum = 0.9};
  device.Update(momentum, v.gradient, v.momentum, v.x);
  RmspropUpdate rmsprop{.common = {.learning_rate = rate}};
  device.Update(rmsprop, v.gradient, v.variance, {}, v.x);
  SignSgdUpdate sign{.common = {.learning_rate = rate}, .momentum = 0.5};
  device.Update(sign, v.gradient, v.momentum, v.x);
  FrozenAdamUpdate frozen{.common = {.learning_rate = rate}};
  device.Update(frozen, v.momentum, v.variance, v.x);
  device.ScatterAdd(v.indices, v.gradient.view().Slice(0, 3), -rate, v.x);
  device.Scale(v.gradient, step == 5 ? 0.25 : 0.5, v.gradient);  // one step differs from the rest
  device.Copy(v.y, v.momentum);
  device.Zero(v.y);
}

TEST(CudaRecordingTest, ChangesNothing) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const auto train = [](bool record) {
    const auto device = MakeTestDevice();
    const Vectors vectors(*device);
    std::vector<std::vector<float>> steps;
    for (int step = 0; step < 8; ++step) {
      Recording recording(*device, record);
      Enqueue(*device, vectors, step);
      recording.Stop();
      steps.push_back(vectors.Read());
    }
    return steps;
  };
  EXPECT_EQ(train(true), train(false));
}

TEST(CudaRecordingTest, LeavesUndoneWhatIsDropped) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const TestBuffer<float> x(*device, RandomNormal(kSize, 1));
  {
    const Recording recording(*device, true);
    device->Zero(x);
  }
  EXPECT_EQ(x.Read(), RandomNormal(kSize, 1));
}

// Memory that is freed and taken anew meanwhile is not that of work which has been put off.
TEST(CudaRecordingTest, KeepsMemoryUntilItsWorkIsEnqueued) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const std::vector<float> values = RandomNormal(kSize, 1);
  const TestBuffer<float> x(*device, values), y(*device, kSize);
  Recording recording(*device, true);
  {
    const Buffer scratch = device->Allocate(kSize * 4);
    device->Copy(x, scratch.view());
    device->Copy(scratch.view(), y);
  }
  const Buffer other = device->Allocate(kSize * 4);
  recording.Stop();
  EXPECT_EQ(y.Read(), values);
}

// x becomes 2 x + 3 x in each step, with 2 x by way of the second queue.
TEST(CudaSideWorkTest, FollowsWhatWasEnqueuedBeforeAndPrecedesTheJoin) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  constexpr int kSteps = 6;
  for (const bool record : {false, true}) {
    for (const bool by_waiting : {false, true}) {
      const std::vector<float> start(kSize, 1);
      const TestBuffer<float> x(*device, start), twice(*device, kSize), copy(*device, kSize),
          thrice(*device, kSize);
      for (int step = 0; step < kSteps; ++step) {
        Recording recording(*device, record);
        device->Scale(x, 2, twice);
        {
          const SideWork side(*device);
          device->Zero(copy);
          device->SumParts(twice, 1, copy);
        }
        for (int i = 0; i < 8; ++i) device->Scale(x, 3, thrice);  // a graph's worth of work
        if (by_waiting) {
          device->Synchronize();
          EXPECT_EQ(copy.Read()[0], 2 * std::pow(5, step));
        } else {
          device->JoinSideWork();
        }
        device->Add(copy, thrice, false, x);
        recording.Stop();
      }
      EXPECT_EQ(x.Read(), std::vector<float>(kSize, std::pow(5.0f, kSteps)));
    }
  }
}

// A copy to the host is waited for on whichever queue, and what follows it there is joined as well.
TEST(CudaSideWorkTest, IsWaitedForEachTimeTheHostReads) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  for (const bool record : {false, true}) {
    const TestBuffer<float> x(*device, std::vector<float>(kSize, 1)), y(*device, kSize);
    Recording recording(*device, record);
    {
      const SideWork side(*device);
      for (const float expected : {2.0f, 4.0f, 8.0f}) {
        device->Scale(x, 2, x);
        std::vector<float> read(kSize);
        device->CopyToHost(x, read.data());
        EXPECT_EQ(read, std::vector<float>(kSize, expected)) << record;
      }
      device->Scale(x, 2, x);
    }
    device->JoinSideWork();
    device->Copy(x, y);
    recording.Stop();
    EXPECT_EQ(y.Read(), std::vector<float>(kSize, 16));
  }
}

// What is left unjoined is waited for at the end, or forgotten with all that was put off.
TEST(CudaSideWorkTest, EndsWithTheRecording) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const std::vector<float> values = RandomNormal(kSize, 1);
  const TestBuffer<float> x(*device, values), y(*device, kSize);
  for (const bool drop : {true, false}) {
    Recording recording(*device, true);
    {
      const SideWork side(*device);
      device->Copy(x, y);
    }
    if (!drop) recording.Stop();
    if (drop) device->DropRecording();
    EXPECT_EQ(y.Read(), drop ? std::vector<float>(kSize) : values);
  }
}

TEST(FiniteChecksTest, KeepParametersUntilTheyAreRead) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  std::vector<float> values = RandomNormal(kSize, 1);
  const TestBuffer<float> x(*device, values), gradient(*device, RandomNormal(kSize, 2));
  const MomentumUpdate update{.common = {.learning_rate = 0.1}};
  FiniteChecks checks(*device);
  int64_t found = -1;
  const auto fail = [&](int64_t index) { throw found = index; };
  checks.Check(x, fail);
  checks.Read();
  values[777] = NAN;
  const TestBuffer<float> wrong(*device, values);
  checks.Check(wrong, fail);
  device->Update(update, gradient, {}, x);
  EXPECT_EQ(x.Read(), RandomNormal(kSize, 1));
  EXPECT_THROW(checks.Read(), int64_t);
  EXPECT_EQ(found, 777);
  checks.Read();
  device->Update(update, gradient, {}, x);
  EXPECT_NE(x.Read(), RandomNormal(kSize, 1));
}

// ScatterAdd would write outside of its vector.
TEST(FiniteChecksTest, KeepMalformedMessagesOut) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const TestBuffer<float> y(*device, kSize), values(*device, RandomNormal(4, 1));
  FiniteChecks checks(*device);
  int64_t found = -1;
  const auto fail = [&](int64_t place) { throw found = place; };
  for (const int32_t index : {2, -7, static_cast<int32_t>(kSize)}) {
    const TestBuffer<int32_t> indices(*device, std::vector<int32_t>{0, 1, index, 999});
    const Range range{0, kSize};
    checks.CheckMessage(indices, values, range, fail);
    device->ScatterAdd(indices, values, 1, y);
    if (index == 2) {
      checks.Read();
      EXPECT_NE(y.Read(), std::vector<float>(kSize));
      device->Zero(y);
    } else {
      EXPECT_THROW(checks.Read(), int64_t);
      EXPECT_EQ(found, 2);
      EXPECT_EQ(y.Read(), std::vector<float>(kSize));
    }
  }
}

}  // namespace
}  // namespace thinwire
