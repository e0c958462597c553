// Runs that try their libraries' plans, and runs that take what others have found.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/device.h"
#include "kernels/plan_cache.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class CudaAutotuneTest : public RunTest {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  }
  std::string cache() const { return folder_ / "cache/plans"; }

  /// The cache file `text`, with a part of each key replaced.
  void WriteWithOtherKeys(const std::string& text, const std::string& from,
                          const std::string& to) const {
    fs::remove(cache());
    PlanCache others(cache());
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      const size_t tab = line.find('\t');
      ASSERT_NE(tab, std::string::npos) << line;
      std::string key = line.substr(9, tab - 9);
      if (const size_t at = key.find(from); at != std::string::npos) {
        key.replace(at, from.size(), to);
      }
      others.Choose(
          key, [](const std::string&) { return true; }, [&] { return line.substr(tab + 1); });
    }
  }

  struct Tuned {
    int64_t trials = 0;  // how often time was taken
    std::string weights, errors;
  };
  /// Two steps of a network of convolutions and linear layers.
  Tuned Run(const Arguments& more = {}) {
    fs::remove_all(folder_ / "run");
    fs::remove(folder_ / "calls");
    Arguments run = TinyRun(folder_ / "run", {"--model",
                                              "lenet",
                                              "--device",
                                              "cuda",
                                              "--batch-size",
                                              "2",
                                              "--max-steps",
                                              "2",
                                              "--eval-interval",
                                              "0",
                                              "--lr",
                                              "0.001",
                                              "--sched",
                                              "constant",
                                              "--autotune",
                                              "on",
                                              "--plan-cache",
                                              cache(),
                                              "--shapes-test-count",
                                              "4",
                                              "--eval-batch-size",
                                              "2",
                                              "--dist-timeout",
                                              "120"});
    run.insert(run.end(), more.begin(), more.end());
    Program::Command command{{"env", "LD_PRELOAD=" THINWIRE_CUDA_FAULTS,
                              "THINWIRE_CALL_COUNTS=" + (folder_ / "calls"), THINWIRE_BINARY}};
    command.words.insert(command.words.end(), run.begin(), run.end());
    const ProgramResult result = Program(command).Wait();
    EXPECT_EQ(result.status, 0) << result.errors;
    Tuned tuned;
    std::istringstream lines(ReadText(folder_ / "calls"));
    std::string call;
    int64_t count = 0;
    while (lines >> call >> count) {
      if (call == "cudaEventElapsedTime") tuned.trials = count;
    }
    tuned.weights = ReadText(folder_ / "run/checkpoints/step-00000002.ckpt");
    tuned.errors = result.errors;
    return tuned;
  }
};

TEST_F(CudaAutotuneTest, LaterRunsTakeWhatTheFirstHasFound) {
  const Tuned first = Run();
  EXPECT_GT(first.trials, 0);
  EXPECT_EQ(first.errors, "");
  const std::string found = ReadText(cache());
  const Tuned second = Run();
  EXPECT_EQ(second.trials, 0);
  EXPECT_EQ(second.weights, first.weights);
  EXPECT_EQ(ReadText(cache()), found);
  EXPECT_EQ(Run({"--autotune", "off"}).trials, 0);

  // Another batch is other work; what has been found stays.
  EXPECT_GT(Run({"--batch-size", "3", "--eval-batch-size", "2"}).trials, 0);
  EXPECT_EQ(Run().trials, 0);
}

TEST_F(CudaAutotuneTest, ADamagedFileIsToldOfAndWrittenAnew) {
  const Tuned first = Run();
  const std::string found = ReadText(cache());
  std::ofstream(cache(), std::ios::binary) << found.substr(0, found.size() - 5);
  const Tuned second = Run();
  EXPECT_EQ(second.trials, first.trials);
  EXPECT_NE(second.errors.find("is damaged"), std::string::npos) << second.errors;
  EXPECT_EQ(std::count(second.errors.begin(), second.errors.end(), '\n'), 1) << second.errors;
  EXPECT_EQ(Run().trials, 0);
}

// What another GPU or library has been found best at says nothing here, but stays in the file.
TEST_F(CudaAutotuneTest, ChoicesHoldForOneGpuAndOneLibrary) {
  const Tuned first = Run();
  const std::string found = ReadText(cache());
  for (const auto& [from, to] : std::map<std::string, std::string>{
           {" multiprocessors, ", " multiprocessors less, "}, {"cuDNN 9", "cuDNN 8"}}) {
    const bool all = from != "cuDNN 9";
    WriteWithOtherKeys(found, from, to);
    const std::string foreign = ReadText(cache());
    EXPECT_NE(foreign, found);
    const Tuned second = Run();
    EXPECT_GT(second.trials, 0);
    if (all) {
      EXPECT_EQ(second.trials, first.trials);
    }
    EXPECT_EQ(second.errors, "");
    EXPECT_GT(ReadText(cache()).size(), foreign.size());
    EXPECT_EQ(Run().trials, 0);
  }
}

// All ranks use one file: what one has tried the others take, so that it is tried once.
TEST_F(CudaAutotuneTest, RanksShareTheTrials) {
  if (CudaDeviceCount() < 2) GTEST_SKIP() << "fewer than 2 GPUs";
  const Tuned alone = Run();
  fs::remove(cache());
  const Tuned together = Run({"--gpus", "0,1", "--replica-check-interval", "1"});
  EXPECT_EQ(together.trials, alone.trials);
  EXPECT_EQ(Run({"--gpus", "0,1"}).weights, together.weights);
}

}  // namespace
}  // namespace thinwire
