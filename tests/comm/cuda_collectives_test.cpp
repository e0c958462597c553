// Every check of collectives on device memory: over NCCL with a GPU a rank, and by way of the host
// where ranks share one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <mutex>

#include "tests/comm/checks.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

struct Setting {
  int ranks;
  bool share_a_gpu;
};

class CudaCollectives : public ::testing::TestWithParam<std::tuple<Setting, CollectiveCheck>> {};

TEST_P(CudaCollectives, Exact) {
  const auto& [setting, check] = GetParam();
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  const int gpus = setting.share_a_gpu ? 1 : setting.ranks;
  if (CudaDeviceCount() < gpus) GTEST_SKIP() << "fewer than " << gpus << " GPUs here";
  Findings findings;
  std::mutex mutex;
  const CommunicatorOptions options{.timeout_seconds = 100};
  ThreadGroup group(setting.ranks, options);
  group.Run([&, &check = check, &setting = setting](int rank) {
    const auto device = MakeCudaDevice(setting.share_a_gpu ? 0 : rank);
    const auto communicator = WithNccl(group.Join(rank, *device), *device, options);
    Findings own;
    const bool has_nccl = communicator->description().find("NCCL") != std::string::npos;
    if (has_nccl == setting.share_a_gpu) own.push_back("is " + communicator->description());
    check.run(*communicator, *device, own);
    const std::lock_guard lock(mutex);
    for (const auto& finding : own) findings.push_back(fmt::format("{}: {}", rank, finding));
  });
  EXPECT_TRUE(findings.empty()) << findings.size() << " findings, the first: " << findings[0];
}

INSTANTIATE_TEST_SUITE_P(Gpus, CudaCollectives,
                         ::testing::Combine(::testing::Values(Setting{2, false}, Setting{3, false},
                                                              Setting{4, false}, Setting{3, true}),
                                            ::testing::ValuesIn(CollectiveChecks().begin(),
                                                                CollectiveChecks().end())),
                         [](const auto& info) {
                           const Setting& setting = std::get<0>(info.param);
                           return std::string(std::get<1>(info.param).name) +
                                  (setting.share_a_gpu ? "SharedBy" : "Gpus") +
                                  std::to_string(setting.ranks);
                         });

}  // namespace
}  // namespace thinwire
