// Every check of every communicator that lives in one process.
#include <gtest/gtest.h>

#include <mutex>

#include "kernels/error.h"
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

TEST(Counts, HaveToFitTheViews) {
  const auto device = MakeCpuDevice(1);
  const auto communicator = MakeSingleCommunicator(*device);
  std::vector<float> memory(10);
  const View view = {memory.data(), 10, DataType::kFloat32};
  const auto gather = [&](const std::vector<int64_t>& counts, ConstView send) {
    communicator->AllGather(send, view, counts, Purpose::kState);
  };
  gather({10}, view);
  EXPECT_THROW(gather({11}, view), Error);
  EXPECT_THROW(gather({-1}, view), Error);
  EXPECT_THROW(gather({1, 1}, view), Error);
  EXPECT_THROW(gather({}, view), Error);
  EXPECT_THROW(gather({10}, view.Slice(0, 9)), Error);
  const std::vector<int64_t> right = {10}, wrong = {11};
  EXPECT_THROW(communicator->AllToAll(view, right, view, wrong, Purpose::kState), Error);
  EXPECT_THROW(communicator->AllToAll(view, wrong, view, right, Purpose::kState), Error);
  EXPECT_THROW(communicator->ReduceScatter(view, view, wrong, 1, Purpose::kState), Error);
  EXPECT_EQ(communicator->traffic().total_sent(), 0);
}

}  // namespace
}  // namespace thinwire
