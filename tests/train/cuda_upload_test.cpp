// Batches that are brought to a GPU a step ahead: runs end with the bytes of those that do not.
#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"
#include "train/run_folder.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class CudaUploadTest : public RunTest {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  }
  /// 3 steps an epoch.
  Arguments GpuRun(const std::string& name, int steps, const Arguments& more = {}) const {
    Arguments all = {"--device",       "cuda",
                     "--opt",          "cd-adam",
                     "--lr",           "0.001",
                     "--sched",        "constant",
                     "--epochs",       "3",
                     "--shapes-count", "96",
                     "--max-steps",    std::to_string(steps)};
    all.insert(all.end(), more.begin(), more.end());
    return TinyRun(folder_ / name, all);
  }
  /// With "NAME=VALUE" in the environment.
  static void Run(const std::string& variable, const Arguments& arguments) {
    Program::Command command{
        {"env", "LD_PRELOAD=" THINWIRE_CUDA_FAULTS, variable, THINWIRE_BINARY}};
    command.words.insert(command.words.end(), arguments.begin(), arguments.end());
    const ProgramResult result = Program(command).Wait();
    ASSERT_EQ(result.status, 0) << result.errors;
  }
  void ExpectSame(const std::string& name, const std::string& other) const {
    const fs::path run = folder_ / name, other_run = folder_ / other;
    int files = 0;
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      const fs::path file = "checkpoints" / entry.path().filename();
      if (file.string().find("05") == std::string::npos) continue;  // an earlier step's
      EXPECT_TRUE(ReadText(run / file) == ReadText(other_run / file))
          << name << " and " << other << " differ in " << file;
      ++files;
    }
    EXPECT_GT(files, 0);
    EXPECT_EQ(WithoutTimes(Steps(folder_ / name)), WithoutTimes(Steps(folder_ / other)));
    EXPECT_EQ(Training(name), Training(other));
  }
  /// What the epochs' records say but for times.
  std::vector<std::string> Training(const std::string& name) const {
    std::vector<std::string> records;
    std::istringstream lines(ReadText(folder_ / name + "/summary.csv"));
    for (std::string line; std::getline(lines, line);) {
      for (int times = 0; times < 2; ++times) line.erase(line.rfind(','));
      records.push_back(line);
    }
    EXPECT_GT(records.size(), 1u);
    return records;
  }
};

// A run of one step takes no batch ahead, and one that is stopped had one that it did not use.
TEST_F(CudaUploadTest, EndsAsARunThatTakesNoBatchAheadAcrossAnEpochsEnd) {
  const std::string lazy = "GPUSIM_STREAMS=lazy";  // where the simulator runs, waits show
  Run(lazy, GpuRun("ahead", 5));
  Run(lazy, GpuRun("without_graphs", 5, {"--cuda-graph", "off"}));
  for (int steps = 1; steps <= 5; ++steps) {
    Run(lazy, GpuRun("single", steps, {"--resume", "auto"}));
  }
  Run(lazy, GpuRun("parts", 2));
  Run(lazy, GpuRun("parts", 5, {"--resume", "auto"}));
  for (const char* other : {"single", "without_graphs", "parts"}) ExpectSame("ahead", other);
}

// Two steps of three batches an epoch and one of one. A measured step brings each batch, and reads
// its loss, when it is due.
TEST_F(CudaUploadTest, EndsAsARunThatAccumulatesOneBatchAfterTheOther) {
  const std::string lazy = "GPUSIM_STREAMS=lazy";
  const auto run = [&](const std::string& name, int steps, const Arguments& more) {
    Arguments all = {"--grad-accum-steps", "3", "--shapes-count", "224"};
    all.insert(all.end(), more.begin(), more.end());
    Run(lazy, GpuRun(name, steps, all));
  };
  run("ahead", 5, {});
  run("without_graphs", 5, {"--cuda-graph", "off"});
  run("parts", 4, {});
  run("parts", 5, {"--resume", "auto"});
  for (const char* other : {"without_graphs", "parts"}) ExpectSame("ahead", other);

  run("measured", 5, {"--measure-interval", "1"});
  const auto steps = Steps(folder_ / "ahead"), measured = Steps(folder_ / "measured");
  ASSERT_EQ(steps.size(), measured.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const char* key : {"loss", "grad_norm"}) EXPECT_EQ(steps[i].at(key), measured[i].at(key));
  }
  const Checkpoint checkpoint = LoadCheckpointOf(folder_ / "ahead");
  EXPECT_EQ(checkpoint.numbers.at("epoch_loss_sum"),
            LoadCheckpointOf(folder_ / "measured").numbers.at("epoch_loss_sum"));
  EXPECT_TRUE(checkpoint.vectors == LoadCheckpointOf(folder_ / "measured").vectors);
  EXPECT_EQ(Training("ahead"), Training("measured"));
}

// The host needs it for the batches, for what changes from step to step, and in the evaluation.
TEST_F(CudaUploadTest, DoesWithoutPinnedMemory) {
  Run("GPUSIM_STREAMS=lazy", GpuRun("pinned", 5));
  for (const std::string use : {"1", "2", "3"}) {
    Run("THINWIRE_FAULT=cudaHostAlloc:" + use, GpuRun("pageable" + use, 5));
    ExpectSame("pinned", "pageable" + use);
  }
}

}  // namespace
}  // namespace thinwire
