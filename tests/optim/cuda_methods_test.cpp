// The distributed methods on a GPU, several workers to one, against the same on the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "kernels/error.h"
#include "optim/optimizer.h"
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

/// What EF21 on a server says at the end of a step in which rank 1's message of four elements, over
/// 256 parameters, was this.
std::string StepWithMessage(const std::vector<int32_t>& indices, const std::vector<float>& values) {
  std::string said;
  ThreadGroup group(2);
  group.Run([&](int rank) {
    const auto device = MakeTestDevice();
    const auto communicator = group.Join(rank, *device);
    if (rank == 0) {
      ParameterArena arena(*device, {{"weights", TensorRole::kLinearWeight, {256}, {}}});
      SetStart(arena);
      const std::vector<double> start = Values(arena);
      const auto optimizer =
          MakeOptimizer({.name = "ef21-bc", .top_k = 4, .server = "central"}, arena, *communicator);
      SetGradient(arena, rank, 0);
      optimizer->Step(0.1, {});
      try {
        optimizer->CheckStep();
      } catch (const Error& error) {
        said = error.what();
        said.resize(said.find(';'));  // the remedy
      }
      EXPECT_EQ(Values(arena) == start, !said.empty());
      return;
    }
    // Four values, then four indices; then the server's.
    std::vector<std::byte> bytes(32);
    std::memcpy(bytes.data(), values.data(), 16);
    std::memcpy(bytes.data() + 16, indices.data(), 16);
    const Buffer message = device->Allocate(32);
    const View view = message.view(DataType::kUint8);
    device->CopyFromHost(bytes.data(), view);
    communicator->AllToAll(view, std::vector<int64_t>{32, 0}, view, std::vector<int64_t>{0, 0},
                           Purpose::kUplink);
    communicator->Broadcast(view, 0, Purpose::kDownlink);
  });
  return said;
}

// Nothing may be written outside of a vector, nor a parameter changed, by what another rank sends.
TEST(CudaSparseMessageTest, IsNotTrusted) {
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const std::vector<float> ones(4, 1);
  EXPECT_EQ(StepWithMessage({0, 7, 8, 255}, ones), "");
  const std::string refused = "step 1: rank 1's message is malformed: it holds ";
  EXPECT_EQ(StepWithMessage({0, 7, 8, 1 << 30}, ones),
            refused + "an index beyond its range, at place 3 of 4");
  EXPECT_EQ(StepWithMessage({-3, 7, 8, 255}, ones),
            refused + "an index beyond its range, at place 0 of 4");
  EXPECT_EQ(StepWithMessage({0, 8, 8, 255}, ones),
            refused + "indices that do not rise, at place 2 of 4");
  EXPECT_EQ(StepWithMessage({0, 7, 8, 255}, {1, 1, INFINITY, 1}),
            refused + "a value that is NaN or infinite, at place 2 of 4");
}

}  // namespace
}  // namespace thinwire
