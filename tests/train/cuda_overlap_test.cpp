// Gradients that are averaged, or compressed and sent, beside the backward pass: the same results,
// earlier.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"
#include "train/checkpoint.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

/// About a seventh of lenet: its layers' gradients go in several buckets, and some buckets hold
/// several layers'.
constexpr const char* kBucket = "0.03";

struct Method {
  std::string name;
  Arguments flags;
};

std::string TestLabel(const ::testing::TestParamInfo<std::tuple<Method, int>>& info) {
  return std::get<0>(info.param).name + "_on_" + std::to_string(std::get<1>(info.param));
}

class CudaOverlapTest : public RunTest,
                        public ::testing::WithParamInterface<std::tuple<Method, int>> {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
    if (CudaDeviceCount() < gpus()) GTEST_SKIP() << "needs " << gpus() << " GPUs";
  }
  static int gpus() { return std::get<1>(GetParam()); }

  /// Six steps, graphs from the third on, at another rate each.
  void Run(const std::string& name, const std::string& bucket, const std::string& graph,
           const Arguments& more = {}) const {
    std::string list = "0";
    for (int gpu = 1; gpu < gpus(); ++gpu) list += "," + std::to_string(gpu);
    Arguments all = {"--model",
                     "lenet",
                     "--device",
                     "cuda",
                     "--gpus",
                     list,
                     "--batch-size",
                     "4",
                     "--sched",
                     "cosine",
                     "--eval-interval",
                     "0",
                     "--epochs",
                     "2",
                     "--shapes-test-count",
                     "4",
                     "--dist-timeout",
                     "120",
                     "--replica-check-interval",
                     "1",
                     "--bucket-mib",
                     bucket,
                     "--cuda-graph",
                     graph};
    const Arguments& flags = std::get<0>(GetParam()).flags;
    all.insert(all.end(), flags.begin(), flags.end());
    all.insert(all.end(), more.begin(), more.end());
    if (std::find(more.begin(), more.end(), "--max-steps") == more.end()) {
      all.insert(all.end(), {"--max-steps", "6"});
    }
    const ProgramResult result = RunProgram(TinyRun(folder_ / name, all));
    ASSERT_EQ(result.status, 0) << result.errors;
  }

  /// Bytes are shared among ranks bucket by bucket, so each rank's differ a little.
  void ExpectSame(const std::string& name, const std::string& other) const {
    int files = 0;
    const fs::path run = folder_ / name, other_run = folder_ / other;
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      const fs::path file = "checkpoints" / entry.path().filename();
      Checkpoint a = ReadCheckpoint(run / file);
      Checkpoint b = ReadCheckpoint(other_run / file);
      for (auto* integers : {&a.integers, &b.integers}) {
        std::erase_if(*integers,
                      [](const auto& entry) { return entry.first.starts_with("bytes_"); });
        std::erase_if(*integers,
                      [](const auto& entry) { return entry.first.starts_with("rank_checksum"); });
      }
      EXPECT_EQ(a.integers, b.integers);
      EXPECT_EQ(a.numbers, b.numbers);
      EXPECT_FALSE(a.vectors.empty() && a.integers.empty());
      EXPECT_TRUE(a.vectors == b.vectors) << name << " and " << other << " differ in " << file;
      ++files;
    }
    EXPECT_GE(files, gpus());
    const auto steps = Steps(folder_ / name), others = Steps(folder_ / other);
    ASSERT_EQ(steps.size(), others.size());
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_EQ(steps[i].at("loss"), others[i].at("loss"));
      EXPECT_EQ(steps[i].at("grad_norm"), others[i].at("grad_norm"));
    }
  }
};

TEST_P(CudaOverlapTest, EndsWithTheSameBits) {
  Run("after", "0", "off");
  Run("beside", kBucket, "off");
  Run("replayed", kBucket, "on");
  ExpectSame("after", "beside");
  ExpectSame("after", "replayed");
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaOverlapTest,
    ::testing::Combine(
        ::testing::Values(
            Method{"momentum", {"--opt", "momentum", "--lr", "0.01"}},
            Method{"adamw_accumulated",
                   {"--opt", "adamw", "--lr", "0.001", "--grad-accum-steps", "2"}},
            Method{"sgd_clipped", {"--opt", "sgd", "--lr", "0.01", "--clip-grad", "0.5"}},
            Method{"onebit_adam", {"--opt", "onebit-adam", "--lr", "1e-5", "--freeze-steps", "4"}},
            // Scales are sums within one rank, so that their buckets change no bit of them either.
            Method{"cd_adam_central",
                   {"--opt", "cd-adam", "--lr", "0.001", "--scale-granularity", "tensor",
                    "--server", "central"}}),
        ::testing::Values(1, 2, 4)),
    TestLabel);

class CudaCompressedOverlapTest : public CudaOverlapTest {};

// Measured steps send their buckets after the backward pass.
TEST_P(CudaCompressedOverlapTest, EndsWithTheSameBitsAsAfterIt) {
  Run("after", kBucket, "off", {"--measure-interval", "1"});
  Run("beside", kBucket, "off");
  Run("replayed", kBucket, "on");
  ExpectSame("after", "beside");
  ExpectSame("after", "replayed");
}

const Method kCdAdam{"cd_adam",
                     {"--opt", "cd-adam", "--lr", "0.001", "--scale-granularity", "tensor",
                      "--uncompressed-tensors", "bias"}};

INSTANTIATE_TEST_SUITE_P(CdAdam, CudaCompressedOverlapTest,
                         ::testing::Combine(::testing::Values(kCdAdam), ::testing::Values(2, 4)),
                         TestLabel);

INSTANTIATE_TEST_SUITE_P(
    Others, CudaCompressedOverlapTest,
    ::testing::Combine(
        ::testing::Values(Method{"cd_adam_bf16_accumulated",
                                 {"--opt", "cd-adam", "--lr", "0.001", "--scale-granularity",
                                  "block:1000", "--grad-accum-steps", "2", "--amp", "on"}},
                          Method{"ef_amsgrad",
                                 {"--opt", "ef-amsgrad", "--lr", "0.001", "--scale-granularity",
                                  "tensor"}},
                          Method{"ef21_bc",
                                 {"--opt", "ef21-bc", "--compressor", "sign", "--lr", "0.01",
                                  "--scale-granularity", "tensor"}},
                          Method{"saef_sgdm",
                                 {"--opt", "saef-sgdm", "--lr", "0.001", "--scale-granularity",
                                  "tensor", "--error-average-period", "3"}},
                          Method{"onebit_adam",
                                 {"--opt", "onebit-adam", "--lr", "1e-5", "--freeze-steps", "2",
                                  "--scale-granularity", "tensor"}}),
        ::testing::Values(2)),
    TestLabel);

class CudaBucketResumeTest : public CudaOverlapTest {};

// Of a central server even other buckets go on with the same bits.
TEST_P(CudaBucketResumeTest, GoesOnWithTheSameBits) {
  Run("whole", kBucket, "on");
  for (const std::string then : {kBucket, "0.01", "0"}) {
    const std::string name = "then_" + then;
    Run(name, kBucket, "on", {"--max-steps", "3"});
    Run(name, then, "on", {"--resume", "auto"});
    ExpectSame("whole", name);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaBucketResumeTest,
                         ::testing::Combine(::testing::Values(Method{
                                                "cd_adam",
                                                {"--opt", "cd-adam", "--lr", "0.001",
                                                 "--scale-granularity", "tensor", "--server",
                                                 "central"}}),
                                            ::testing::Values(2)),
                         TestLabel);

}  // namespace
}  // namespace thinwire
