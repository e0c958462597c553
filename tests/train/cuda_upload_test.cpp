// Batches that are brought to a GPU a step ahead: runs end with the bytes of those that do not.
#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

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

TEST_F(CudaUploadTest, DoesWithoutPinnedMemory) {
  Run("GPUSIM_STREAMS=lazy", GpuRun("pinned", 5));
  Run("THINWIRE_FAULT=cudaHostAlloc:1", GpuRun("pageable", 5));
  ExpectSame("pinned", "pageable");
}

}  // namespace
}  // namespace thinwire
