// The distributed methods on a GPU, several workers to one, against the same on the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <span>
#include <string>

#include "kernels/error.h"
#include "optim/optimizer.h"
#include "optim/sharded_top_k.h"
#include "tests/device_test.h"
#include "tests/optim/replicas.h"

namespace thinwire {
namespace {

class CudaMethodsTest : public ::testing::TestWithParam<MethodCase> {};

INSTANTIATE_TEST_SUITE_P(All, CudaMethodsTest, ::testing::ValuesIn(AllMethodCases()),
                         [](const auto& info) { return info.param.label; });

std::vector<double> Train(const MethodCase& method, const std::string& server, DataType type,
                          int ranks, bool on_gpu) {
  std::vector<double> end;
  ThreadGroup group(ranks);
  group.Run([&](int rank) {
    const auto device = on_gpu ? MakeTestDevice() : MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    const auto values = TrainReplicas(method, server, type, 10, *device, *communicator);
    if (rank == 0) end = values;
  });
  return end;
}

// Signs, choices, sums and updates are the same bits on both, so the methods' steps are.
TEST_P(CudaMethodsTest, EndWithTheSameBitsAsOnTheCpu) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  if (!HasFusedMultiplyAdd(*MakeCpuDevice(1))) {
    GTEST_SKIP() << "this CPU rounds products and sums apart";
  }
  for (const int ranks : {1, 3}) {
    for (const std::string server : {"sharded", "central"}) {
      for (const DataType type : {DataType::kFloat32, DataType::kFloat64}) {
        EXPECT_EQ(Train(GetParam(), server, type, ranks, true),
                  Train(GetParam(), server, type, ranks, false))
            << ranks << " ranks, " << server << ", type " << static_cast<int>(type);
      }
    }
  }
}

/// A worker that takes part in one step of two ranks, EF21 with four of 256 elements a message, and
/// sends rank 0 what it likes.
struct OddWorker {
  std::vector<int32_t> indices;
  std::vector<float> values;
  // If servers are sharded: how many elements it announces of that message, and what it adds to the
  // servers' message, of its shard; if `chosen`, it says that it adds so many.
  int64_t announced = 4;
  std::vector<int32_t> served_indices{};
  std::vector<float> served_values{};
  std::optional<int64_t> chosen{};

  void TakePart(const std::string& server, Device& device, Communicator& communicator) const {
    const Buffer value_buffer = device.Allocate(16), index_buffer = device.Allocate(16);
    const View value_view = value_buffer.view(DataType::kFloat32),
               index_view = index_buffer.view(DataType::kInt32);
    device.CopyFromHost(values.data(), value_view);
    device.CopyFromHost(indices.data(), index_view);
    const Buffer received = device.Allocate(16);
    const std::vector<int64_t> sends = {4, 0};
    std::vector<int64_t> receives = {0, 0};
    if (server == "sharded") {
      const std::vector<int64_t> lengths = {announced, 0}, bytes(2, sizeof(int64_t));
      communicator.AllToAllHost(std::as_bytes(std::span(lengths)), bytes,
                                std::as_writable_bytes(std::span(receives)), bytes,
                                Purpose::kControl);
    }
    communicator.AllToAll(value_view, sends, received.view(DataType::kFloat32), receives,
                          Purpose::kUplink);
    communicator.AllToAll(index_view, sends, received.view(DataType::kInt32), receives,
                          Purpose::kUplink);
    if (server == "central") {
      communicator.Broadcast(value_view, 0, Purpose::kDownlink);
      communicator.Broadcast(index_view, 0, Purpose::kDownlink);
      return;
    }
    const TestBuffer<float> served(device, served_values);
    const int64_t agreed =
        ShardedTopK({.size = 4, .k = 4}, device, communicator).Agree(served.view());
    const std::vector<int64_t> counts = communicator.AllGatherHost(chosen.value_or(agreed));
    communicator.AllGather(served, value_view, counts, Purpose::kDownlink);
    communicator.AllGather(TestBuffer<int32_t>(device, served_indices), index_view, counts,
                           Purpose::kDownlink);
  }
};

/// What rank 0 says at the end of its step with that worker.
std::string StepWith(const OddWorker& worker, const std::string& server) {
  std::string said;
  ThreadGroup group(2);
  try {
    group.Run([&](int rank) {
      const auto device = MakeTestDevice();
      const auto communicator = group.Join(rank, *device);
      if (rank == 1) return worker.TakePart(server, *device, *communicator);
      ParameterArena arena(*device, {{"weights", TensorRole::kLinearWeight, {256}, {}}});
      SetStart(arena);
      const std::vector<double> start = Values(arena);
      const auto optimizer =
          MakeOptimizer({.name = "ef21-bc", .top_k = 4, .server = server}, arena, *communicator);
      SetGradient(arena, rank, 0);
      try {
        optimizer->Step(0.1, {});
        optimizer->CheckStep();
      } catch (const Error& error) {
        said = error.what();
        said.resize(said.find(';'));  // the remedy
      }
      EXPECT_EQ(Values(arena) == start, !said.empty());
    });
  } catch (const Error&) {  // the worker, whom rank 0 has left
    EXPECT_NE(said, "");
  }
  return said;
}

class CudaSparseMessageTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Servers, CudaSparseMessageTest, ::testing::Values("sharded", "central"),
                         [](const auto& info) { return std::string(info.param); });

// Nothing may be written outside of a vector, nor a parameter changed, by what another rank sends.
TEST_P(CudaSparseMessageTest, IsNotTrusted) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const std::string server = GetParam();
  const std::vector<float> ones(4, 1);
  EXPECT_EQ(StepWith({.indices = {0, 7, 8, 127}, .values = ones}, server), "");
  const std::string refused = "step 1: rank 1's message is malformed: it holds ";
  const int32_t beyond = server == "sharded" ? 128 : 256;
  EXPECT_EQ(StepWith({.indices = {0, 7, 8, beyond}, .values = ones}, server),
            refused + "an index beyond its range, at place 3 of 4");
  EXPECT_EQ(StepWith({.indices = {-3, 7, 8, 127}, .values = ones}, server),
            refused + "an index beyond its range, at place 0 of 4");
  EXPECT_EQ(StepWith({.indices = {0, 8, 8, 127}, .values = ones}, server),
            refused + "indices that do not rise, at place 2 of 4");
  EXPECT_EQ(StepWith({.indices = {0, 7, 8, 127}, .values = {1, 1, INFINITY, 1}}, server),
            refused + "a value that is NaN or infinite, at place 2 of 4");
}

// The worker's candidates are the largest by far, so that it adds all of them.
TEST(CudaServedMessageTest, IsNotTrusted) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const auto step = [](const std::vector<int32_t>& indices, const std::vector<float>& values) {
    return StepWith({.indices = {0, 7, 8, 127},
                     .values = std::vector<float>(4, 1),
                     .served_indices = indices,
                     .served_values = values},
                    "sharded");
  };
  EXPECT_EQ(step({128, 255}, {1e30f, -1e30f}), "");
  const std::string refused = "step 1: rank 1's message is malformed: it holds ";
  EXPECT_EQ(step({127, 200}, {1e30f, 1e30f}),
            refused + "an index beyond its range, at place 0 of 2");
  EXPECT_EQ(step({200, 200}, {1e30f, 1e30f}),
            refused + "indices that do not rise, at place 1 of 2");
  EXPECT_EQ(step({200}, {INFINITY}), refused + "a value that is NaN or infinite, at place 0 of 1");
}

TEST(CudaSparseMessageLengthsTest, AreNotTrusted) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  OddWorker worker{.indices = {0, 7, 8, 127}, .values = std::vector<float>(4, 1)};
  for (const int64_t announced : {int64_t{-1}, int64_t{5}, int64_t{1} << 40}) {
    worker.announced = announced;
    EXPECT_EQ(StepWith(worker, "sharded"), "step 1: rank 1 announces a message of " +
                                               std::to_string(announced) +
                                               " elements, where 4 are the most");
  }
  worker.announced = 4;
  for (const int64_t chosen : {-1, 1, 5}) {
    worker.chosen = chosen;
    EXPECT_EQ(StepWith(worker, "sharded"), "step 1: the servers' parts of the message, 4 + " +
                                               std::to_string(chosen) +
                                               " elements, are not the 4 of a message");
  }
}

}  // namespace
}  // namespace thinwire
