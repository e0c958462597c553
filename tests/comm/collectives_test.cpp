// Every check of every communicator that lives in one process.
#include <gtest/gtest.h>

#include <mutex>

#include "tests/comm/checks.h"

namespace thinwire {
namespace {

class Collectives : public ::testing::TestWithParam<std::tuple<int, CollectiveCheck>> {};

TEST_P(Collectives, Exact) {
  const auto& [ranks, check] = GetParam();
  Findings findings;
  if (ranks == 0) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = MakeSingleCommunicator(*device);
    EXPECT_STREQ(communicator->kind(), "alone");
    check.run(*communicator, *device, findings);
  } else {
    std::mutex mutex;
    ThreadGroup group(ranks, {.timeout_seconds = 100});
    EXPECT_EQ(group.size(), ranks);
    group.Run([&, &check = check](int rank) {
      const auto device = MakeCpuDevice(1);
      const auto communicator = group.Join(rank, *device);
      Findings own;
      check.run(*communicator, *device, own);
      const std::lock_guard lock(mutex);
      for (const auto& finding : own) findings.push_back(std::to_string(rank) + ": " + finding);
    });
  }
  EXPECT_TRUE(findings.empty()) << findings.size() << " findings, the first: " << findings[0];
}

INSTANTIATE_TEST_SUITE_P(InProcess, Collectives,
                         ::testing::Combine(::testing::Values(0, 1, 2, 3, 4, 8, 20),
                                            ::testing::ValuesIn(CollectiveChecks().begin(),
                                                                CollectiveChecks().end())),
                         [](const auto& info) {
                           const int ranks = std::get<0>(info.param);
                           return std::string(std::get<1>(info.param).name) +
                                  (ranks == 0 ? "Alone" : "Threads" + std::to_string(ranks));
                         });

}  // namespace
}  // namespace thinwire
