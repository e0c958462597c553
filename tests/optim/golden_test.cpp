// Trajectories of an independent float64 implementation, every method in float64.
#include <gtest/gtest.h>

#include "tests/device_test.h"
#include "tests/optim/tiny_rounds.h"

namespace thinwire {
namespace {

class GoldenTest : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         ::testing::Combine(::testing::ValuesIn(kTinyCases),
                                            ::testing::Values("sharded", "central")),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::get<1>(info.param);
                         });

TEST_P(GoldenTest, FollowsIndependentImplementation) {
  const auto& [name, server] = GetParam();
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const auto folder = oracle::Folder();
  if (!folder) GTEST_SKIP() << "THINWIRE_TEST_ORACLE names no folder of golden values";
  const auto golden = oracle::ReadTinyRounds(*folder + "/tiny/" + name + ".csv");
  const auto index = oracle::ReadTinyIndex(*folder);
  ASSERT_EQ(index.count(name), 1u);
  const auto golden_case = oracle::ParseCase(index.at(name).arguments);
  ASSERT_TRUE(golden_case) << index.at(name).arguments;
  ASSERT_EQ(golden.size(), kTinyRounds + 1);
  const TinyRun run = RunTiny(*golden_case, server, DataType::kFloat64, *folder);
  if (run.x.empty()) GTEST_SKIP() << "cannot unpack " << *folder << "/tiny20.xz with xz";
  const double tolerance = oracle::Tolerance(DataType::kFloat64, index.at(name).sensitivity);
  for (const std::string& finding : CompareTiny(run, golden, tolerance)) ADD_FAILURE() << finding;
}

}  // namespace
}  // namespace thinwire
