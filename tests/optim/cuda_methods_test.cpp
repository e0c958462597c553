// The distributed methods on a GPU, several workers to one, against the same on the CPU.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace thinwire
