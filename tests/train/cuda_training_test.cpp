// Whole runs on GPUs: a ResNet on images that the program draws, against the same run on CPUs.
#include <cmath>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

struct Method {
  std::string name;
  Arguments flags;
};

class CudaTrainingTest : public RunTest,
                         public ::testing::WithParamInterface<std::tuple<Method, int>> {
 protected:
  /// `more` says where, and for how many steps.
  Arguments Run(const std::string& output, const Arguments& more) const {
    // clang-format off
    Arguments arguments = {"train", "--model", "resnet20", "--shapes-count", "64",
                           "--shapes-test-count", "8", "--batch-size", "2", "--data-threads", "1",
                           "--log-interval", "1", "--eval-interval", "0",
                           "--replica-check-interval", "1", "--dist-timeout", "120",
                           "--sched", "constant", "--output", output};
    // clang-format on
    for (const Arguments& part : {std::get<0>(GetParam()).flags, more}) {
      arguments.insert(arguments.end(), part.begin(), part.end());
    }
    return arguments;
  }
  static std::string Gpus(int count) {
    std::string list = "0";
    for (int gpu = 1; gpu < count; ++gpu) list += "," + std::to_string(gpu);
    return list;
  }
};

INSTANTIATE_TEST_SUITE_P(
    All, CudaTrainingTest,
    ::testing::Combine(
        ::testing::Values(
            Method{"sgd", {"--opt", "sgd", "--lr", "0.001"}},
            Method{"cd_adam", {"--opt", "cd-adam", "--lr", "3e-5"}},
            Method{"ef21_bc",
                   {"--opt", "ef21-bc", "--compressor", "topk", "--topk-ratio", "0.016", "--lr",
                    "0.001"}},
            Method{"ef21_bc_central",
                   {"--opt", "ef21-bc", "--compressor", "topk", "--topk-ratio", "0.016", "--lr",
                    "0.001", "--server", "central"}},
            Method{"saef_sgdm", {"--opt", "saef-sgdm", "--compressor", "sign", "--lr", "3e-4"}},
            Method{"onebit_adam",
                   {"--opt", "onebit-adam", "--freeze-steps", "5", "--lr", "3e-5"}}),
        ::testing::Values(1, 2, 4)),
    [](const auto& info) {
      return std::get<0>(info.param).name + "_on_" + std::to_string(std::get<1>(info.param));
    });

// The order of a convolution's sums is all that differs, so losses drift apart slowly, but batch norm
// over two images amplifies what the rates let through, hence small ones. Replicas
// are compared, bit for bit, after every step.
TEST_P(CudaTrainingTest, LossesFollowTheCpus) {
  const int gpus = std::get<1>(GetParam());
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  if (CudaDeviceCount() < gpus) GTEST_SKIP() << "needs " << gpus << " GPUs";
  const std::string cpu = folder_ / "cpu", gpu = folder_ / "gpu";
  const auto on_cpu = RunProgram(
      Run(cpu, {"--device", "cpu", "--workers", std::to_string(gpus), "--max-steps", "10"}));
  ASSERT_EQ(on_cpu.status, 0) << on_cpu.errors;
  const auto on_gpu =
      RunProgram(Run(gpu, {"--device", "cuda", "--gpus", Gpus(gpus), "--max-steps", "30"}));
  ASSERT_EQ(on_gpu.status, 0) << on_gpu.errors;
  if (gpus > 1) {
    EXPECT_NE(on_gpu.output.find("NCCL"), std::string::npos) << on_gpu.output;
  }
  const auto expected = Steps(cpu), actual = Steps(gpu);
  ASSERT_EQ(expected.size(), 10u);
  ASSERT_EQ(actual.size(), 30u);
  for (size_t step = 0; step < expected.size(); ++step) {
    const double loss = expected[step]["loss"];
    EXPECT_NEAR(actual[step]["loss"], loss, 1e-3 * loss) << "step " << step + 1;
    EXPECT_EQ(actual[step]["paper_bits_up"], expected[step]["paper_bits_up"]);
  }
  for (const auto& step : actual) EXPECT_TRUE(std::isfinite(double{step["loss"]}));
}

}  // namespace
}  // namespace thinwire
