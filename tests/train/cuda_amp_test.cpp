// Whole runs in bfloat16 on GPUs, against the same runs on CPUs, and with and without CUDA graphs.
#include <cmath>
#include <filesystem>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

struct Method {
  std::string name;
  Arguments flags;
};

class CudaAmpTest : public RunTest, public ::testing::WithParamInterface<std::tuple<Method, int>> {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
    if (CudaDeviceCount() < gpus()) GTEST_SKIP() << "needs " << gpus() << " GPUs";
  }
  static int gpus() { return std::get<1>(GetParam()); }

  /// A resnet20 on two images a rank; replicas are compared after every step.
  void Train(const std::string& output, const Arguments& more) const {
    // clang-format off
    Arguments arguments = {"train", "--amp", "--model", "resnet20", "--shapes-count", "64",
                           "--shapes-test-count", "8", "--batch-size", "2", "--data-threads", "1",
                           "--log-interval", "1", "--eval-interval", "0",
                           "--replica-check-interval", "1", "--dist-timeout", "120",
                           "--sched", "constant", "--output", folder_ / output};
    // clang-format on
    for (const Arguments& part : {std::get<0>(GetParam()).flags, more}) {
      arguments.insert(arguments.end(), part.begin(), part.end());
    }
    const ProgramResult result = RunProgram(arguments);
    ASSERT_EQ(result.status, 0) << result.errors;
  }
  void TrainOnGpus(const std::string& output, const Arguments& more) const {
    Arguments all = {"--device", "cuda", "--gpus", gpus() == 1 ? "0" : "0,1"};
    all.insert(all.end(), more.begin(), more.end());
    Train(output, all);
  }

  /// Of the checkpoints that both have.
  void ExpectSameCheckpoints(const std::string& a, const std::string& b) const {
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / (a + "/checkpoints"))) {
      const std::string name = "/checkpoints/" + entry.path().filename().string();
      if (!std::filesystem::exists((folder_ / b) + name)) continue;
      EXPECT_TRUE(ReadText((folder_ / a) + name) == ReadText((folder_ / b) + name)) << name;
      ++files;
    }
    EXPECT_GT(files, 0);
  }
};

INSTANTIATE_TEST_SUITE_P(
    All, CudaAmpTest,
    ::testing::Combine(::testing::Values(Method{"sgd", {"--opt", "sgd", "--lr", "0.001"}},
                                         Method{"cd_adam", {"--opt", "cd-adam", "--lr", "3e-5"}}),
                       ::testing::Values(1, 2)),
    [](const auto& info) {
      return std::get<0>(info.param).name + "_on_" + std::to_string(std::get<1>(info.param));
    });

// Some 60 passes forward round their values by up to 2^-8, each device after sums in another order:
// sqrt(60) 2^-8 is 3 %, and training adds to it.
TEST_P(CudaAmpTest, LossesFollowTheCpus) {
  Train("cpu", {"--device", "cpu", "--workers", std::to_string(gpus()), "--max-steps", "10"});
  TrainOnGpus("gpu", {"--max-steps", "10"});
  const auto expected = Steps(folder_ / "cpu"), actual = Steps(folder_ / "gpu");
  ASSERT_EQ(expected.size(), 10u);
  ASSERT_EQ(actual.size(), 10u);
  for (size_t step = 0; step < expected.size(); ++step) {
    const double loss = expected[step]["loss"];
    EXPECT_NEAR(actual[step]["loss"], loss, 0.05 * loss) << "step " << step + 1;
  }
}

// Steps are replayed from the fourth on.
TEST_P(CudaAmpTest, GraphsAndResumesChangeNoBit) {
  TrainOnGpus("graph", {"--max-steps", "5"});
  TrainOnGpus("plain", {"--max-steps", "5", "--cuda-graph", "off"});
  ExpectSameCheckpoints("graph", "plain");
  TrainOnGpus("parts", {"--max-steps", "3"});
  TrainOnGpus("parts", {"--max-steps", "5", "--resume", "auto"});
  ExpectSameCheckpoints("graph", "parts");
}

}  // namespace
}  // namespace thinwire
