// Loss, gradient norm and bits after 10, 100 and 1000 rounds, on ranks that are threads.
#include "tests/optim/golden_rounds.h"

#include <gtest/gtest.h>

namespace thinwire {
namespace {

/// Rows of the oracle's table that thinwire has a method for, or none where there is no oracle.
struct Row {
  oracle::GoldenRow golden;
  bool mini_batches = false;
  std::string label;
};

std::vector<Row> Rows() {
  std::vector<Row> rows;
  const auto folder = oracle::Folder();
  if (!folder) return rows;
  for (const bool mini_batches : {false, true}) {
    for (const auto& golden :
         mini_batches ? oracle::ReadMiniBatchRows(*folder) : oracle::ReadGoldenRows(*folder)) {
      if (oracle::ParseCase(golden.arguments)) rows.push_back({golden, mini_batches, ""});
    }
  }
  return rows;
}

// As many as the oracle has; a ctest entry each, whether or not it is at hand when they are listed.
constexpr int kRows = 39;

class GoldenRoundsTest : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Row, GoldenRoundsTest, ::testing::Range(0, kRows));

TEST_P(GoldenRoundsTest, FollowIndependentImplementation) {
  const std::vector<Row> rows = Rows();
  if (rows.empty()) GTEST_SKIP() << "THINWIRE_TEST_ORACLE names no folder of golden values";
  ASSERT_EQ(rows.size(), static_cast<size_t>(kRows));
  const Row& row = rows[static_cast<size_t>(GetParam())];
  const auto golden_case = oracle::ParseCase(row.golden.arguments);
  if (!HasData(*golden_case)) GTEST_SKIP() << "no data set " << golden_case->data << " at hand";
  for (const char* server : {"sharded", "central"}) {
    std::vector<std::string> findings;
    ThreadGroup group(golden_case->workers);
    group.Run([&](int rank) {
      const auto device = MakeCpuDevice(1);
      const auto communicator = group.Join(rank, *device);
      const auto found = CompareRounds(row.golden, server, row.mini_batches, 1000,
                                       DataType::kFloat64, *device, *communicator);
      if (rank == 0) findings = found;
    });
    for (const std::string& finding : findings) ADD_FAILURE() << finding;
  }
}

}  // namespace
}  // namespace thinwire
