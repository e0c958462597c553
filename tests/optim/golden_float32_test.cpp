// The golden values in float32, on the device that the program is for, over the rounds in which it
// can be compared: twenty of the small problem, ten of those on real data.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/device_test.h"
#include "tests/optim/golden_rounds.h"
#include "tests/optim/tiny_rounds.h"

namespace thinwire {
namespace {

class GoldenFloat32Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
    if (!folder_) GTEST_SKIP() << "THINWIRE_TEST_ORACLE names no folder of golden values";
  }
  void TearDown() override {
    if (IsSkipped()) return;
    fmt::print(
        "{} runs followed; {} rows cannot tell, since rounding may move them by more than "
        "100 % or was not measured\n",
        followed_, untold_);
  }

  const std::optional<std::string> folder_ = oracle::Folder();
  int followed_ = 0, untold_ = 0;
};

TEST_F(GoldenFloat32Test, TwentyRoundsOfEveryMethod) {
  const auto index = oracle::ReadTinyIndex(*folder_);
  for (const char* name : kTinyCases) {
    const oracle::TinyCase& tiny = index.at(name);
    const double tolerance = oracle::Tolerance(DataType::kFloat32, tiny.sensitivity);
    if (tolerance > 1) {
      ++untold_;
      fmt::print("not telling: {}\n", name);
      continue;
    }
    const auto golden = oracle::ReadTinyRounds(*folder_ + "/tiny/" + name + ".csv");
    ASSERT_EQ(golden.size(), kTinyRounds + 1);
    for (const char* server : {"sharded", "central"}) {
      const TinyRun run =
          RunTiny(*oracle::ParseCase(tiny.arguments), server, DataType::kFloat32, *folder_);
      ASSERT_FALSE(run.x.empty()) << "cannot unpack the rows";
      for (const std::string& finding : CompareTiny(run, golden, tolerance)) {
        ADD_FAILURE() << name << " (" << server << "), " << finding;
      }
      ++followed_;
    }
  }
}

// Of twenty workers on one GPU the larger sets take long where the GPU is simulated, and the bits
// are the CPU's.
TEST_F(GoldenFloat32Test, TenRoundsOfTwentyWorkers) {
  constexpr int64_t kRounds = 20;
  const bool on_cpu = std::string(MakeTestDevice()->kind()) == "cpu";
  for (const oracle::GoldenRow& row : oracle::ReadGoldenRows(*folder_)) {
    const auto golden_case = oracle::ParseCase(row.arguments);
    if (!golden_case || !HasData(*golden_case)) continue;
    if (!on_cpu && golden_case->data != "dense100") continue;
    double tolerance = 0;
    for (const oracle::GoldenRound& golden : row.rounds) {
      if (golden.round > kRounds) continue;
      tolerance = std::max(tolerance, oracle::Tolerance(DataType::kFloat32, golden.sensitivity));
    }
    if (tolerance > 1) {
      ++untold_;
      fmt::print("not telling: {}\n", row.arguments);
      continue;
    }
    std::vector<std::string> findings;
    ThreadGroup group(golden_case->workers);
    group.Run([&](int rank) {
      const auto device = MakeTestDevice();
      const auto communicator = group.Join(rank, *device);
      const auto found =
          CompareRounds(row, "sharded", false, kRounds, DataType::kFloat32, *device, *communicator);
      if (rank == 0) findings = found;
    });
    for (const std::string& finding : findings) ADD_FAILURE() << finding;
    ++followed_;
  }
}

}  // namespace
}  // namespace thinwire
