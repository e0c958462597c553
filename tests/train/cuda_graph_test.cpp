// Training steps that are replayed as CUDA graphs: what they compute, and what the host does
// meanwhile.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

struct Method {
  std::string name;
  Arguments flags;
  bool whole = true;  // the step is one graph; of one GPU it always is
};

std::vector<Method> Methods() {
  return {{"sgd", {"--opt", "sgd"}},
          {"adamw_clipped",
           {"--opt", "adamw", "--lr", "0.001", "--clip-grad", "0.5", "--model-ema", "0.9"}},
          {"sgd_mixed", {"--opt", "sgd", "--mixup", "0.4", "--cutmix", "1"}},
          {"cd_adam", {"--opt", "cd-adam", "--lr", "0.001"}},
          {"cd_adam_bf16", {"--opt", "cd-adam", "--lr", "0.001", "--amp", "on"}},
          {"cd_adam_tensors",
           {"--opt", "cd-adam", "--lr", "0.001", "--scale-granularity", "tensor",
            "--uncompressed-tensors", "bias"}},
          {"saef_sgdm", {"--opt", "saef-sgdm", "--compressor", "sign"}},
          {"signsgd_mv", {"--opt", "signsgd-mv", "--momentum", "0.9", "--lr", "0.001"}},
          {"onebit_adam", {"--opt", "onebit-adam", "--freeze-steps", "2", "--lr", "1e-7"}},
          {"ef21_bc", {"--opt", "ef21-bc", "--compressor", "topk", "--topk-ratio", "0.016"}, false},
          {"ef21_bc_central",
           {"--opt", "ef21-bc", "--compressor", "topk", "--topk-ratio", "0.016", "--server",
            "central"}},
          {"ef_amsgrad_topk",
           {"--opt", "ef-amsgrad", "--compressor", "topk", "--lr", "0.001", "--server", "central",
            "--uncompressed-tensors", "bias"}}};
}

class CudaGraphTest : public RunTest,
                      public ::testing::WithParamInterface<std::tuple<Method, int>> {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
    if (CudaDeviceCount() < gpus()) GTEST_SKIP() << "needs " << gpus() << " GPUs";
  }
  static const Method& method() { return std::get<0>(GetParam()); }
  static bool whole() { return method().whole || gpus() == 1; }
  static int gpus() { return std::get<1>(GetParam()); }

  /// A run whose learning rate changes every step.
  Arguments GpuRun(const std::string& name, const Arguments& more) const {
    std::string list = "0";
    for (int gpu = 1; gpu < gpus(); ++gpu) list += "," + std::to_string(gpu);
    Arguments all = {"--device",
                     "cuda",
                     "--gpus",
                     list,
                     "--batch-size",
                     "4",
                     "--sched",
                     "cosine",
                     "--lr",
                     "0.01",
                     "--eval-interval",
                     "0",
                     "--epochs",
                     "2",
                     "--shapes-test-count",
                     "4",
                     "--dist-timeout",
                     "120"};
    for (const Arguments& part : {method().flags, more}) {
      for (size_t i = 0; i < part.size(); i += 2) {
        const auto same = std::find(all.begin(), all.end(), part[i]);
        if (same != all.end()) {
          *(same + 1) = part[i + 1];
        } else {
          all.insert(all.end(), {part[i], part[i + 1]});
        }
      }
    }
    return TinyRun(folder_ / name, all);
  }

  /// How often a run calls what tests/cuda_faults.cpp counts. Where the GPU is simulated, it does
  /// nothing before something waits for it.
  std::map<std::string, int64_t> Calls(const Arguments& arguments) {
    const std::string file = folder_ / "calls";
    Program::Command command{{"env", "LD_PRELOAD=" THINWIRE_CUDA_FAULTS, "GPUSIM_STREAMS=lazy",
                              "THINWIRE_CALL_COUNTS=" + file, THINWIRE_BINARY}};
    command.words.insert(command.words.end(), arguments.begin(), arguments.end());
    const ProgramResult result = Program(command).Wait();
    EXPECT_EQ(result.status, 0) << result.errors;
    std::map<std::string, int64_t> calls;
    std::istringstream lines(ReadText(file));
    std::string call;
    int64_t count = 0;
    while (lines >> call >> count) calls[call] = count;
    return calls;
  }

  /// The calls of each rank in one step of a run's later ones.
  std::map<std::string, double> CallsOfStep(const std::string& graph, const Arguments& more = {}) {
    constexpr int kFirst = 6, kSteps = 4;
    std::map<std::string, double> of_step;
    for (const int steps : {kFirst, kFirst + kSteps}) {
      Arguments all = {"--cuda-graph",
                       graph,
                       "--max-steps",
                       std::to_string(steps),
                       "--log-interval",
                       "100",
                       "--replica-check-interval",
                       "0"};
      all.insert(all.end(), more.begin(), more.end());
      const Arguments run = GpuRun("run", all);
      for (const auto& [call, count] : Calls(run)) {
        of_step[call] += static_cast<double>(steps == kFirst ? -count : count) / kSteps / gpus();
      }
      fs::remove_all(folder_ / "run");
    }
    return of_step;
  }

  void ExpectSameRuns(const Arguments& more) const {
    for (const std::string graph : {"on", "off"}) {
      Arguments all = {"--cuda-graph", graph};
      all.insert(all.end(), more.begin(), more.end());
      const ProgramResult result = RunProgram(GpuRun(graph, all));
      ASSERT_EQ(result.status, 0) << result.errors;
    }
    const fs::path on = folder_ / "on/checkpoints", off = folder_ / "off/checkpoints";
    int files = 0;
    for (const auto& entry : fs::directory_iterator(on)) {
      const fs::path name = entry.path().filename();
      EXPECT_TRUE(ReadText(on / name) == ReadText(off / name)) << name;
      ++files;
    }
    EXPECT_GT(files, 0);
    EXPECT_EQ(WithoutTimes(Steps(folder_ / "on")), WithoutTimes(Steps(folder_ / "off")));
  }
};

// 10 steps of a network of convolutions; a checkpoint brings lazy updates up to date in between.
TEST_P(CudaGraphTest, EqualsTheRunWithoutGraphs) {
  ExpectSameRuns({"--model", "lenet", "--max-steps", "10", "--checkpoint-interval", "6",
                  "--replica-check-interval", "1", "--measure-interval", "8"});
}

TEST_P(CudaGraphTest, EqualsItWithGradientAccumulation) {
  if (gpus() == 4) GTEST_SKIP() << "2 GPUs show it";
  ExpectSameRuns({"--max-steps", "6", "--grad-accum-steps", "3", "--replica-check-interval", "1"});
}

// After the warm-up the host uploads a batch and what changes from step to step, launches a graph,
// and waits once for the loss, and once, then without any delay, for what checks have found.
TEST_P(CudaGraphTest, AStepIsOneGraphAndTheHostWaitsAtItsEnd) {
  if (!whole()) GTEST_SKIP() << "lengths of its messages differ";
  auto calls = CallsOfStep("on");
  EXPECT_EQ(calls["cudaGraphLaunch"], 1);
  EXPECT_EQ(calls["cudaGraphInstantiate"], 0);
  EXPECT_EQ(calls["cudaLaunchKernelExC"], 0);
  EXPECT_EQ(calls["cublasLtMatmul"], 0);
  EXPECT_EQ(calls["ncclSend"], 0);
  // The next batch to the device, this one to where it is read, what changes; loss, checks.
  EXPECT_EQ(calls["cudaMemcpyAsync"], 5);
  EXPECT_EQ(calls["cudaStreamSynchronize"], 2);
  calls = CallsOfStep("off");
  EXPECT_EQ(calls["cudaGraphLaunch"], 0);
  EXPECT_GT(calls["cudaLaunchKernelExC"], 0);
  EXPECT_EQ(calls["cudaStreamSynchronize"], 2);
}

// Three kinds of parts, the first, the last and what is between them, are a graph each, and the
// host waits for the losses of all of them at once; not for a part, not even to bring the next
// one's batch.
TEST_P(CudaGraphTest, AnAccumulatedStepIsOneGraphAPartAndTheHostWaitsAtItsEnd) {
  if (!whole()) GTEST_SKIP() << "lengths of its messages differ";
  if (gpus() == 4) GTEST_SKIP() << "2 GPUs show it";
  constexpr int kParts = 4;
  const Arguments parts = {"--grad-accum-steps", std::to_string(kParts), "--shapes-count", "1024"};
  auto calls = CallsOfStep("on", parts);
  EXPECT_EQ(calls["cudaGraphLaunch"], kParts);
  EXPECT_EQ(calls["cudaGraphInstantiate"], 0);
  EXPECT_EQ(calls["cudaLaunchKernelExC"], 0);
  EXPECT_EQ(calls["cudaMemcpyAsync"], 3 * kParts + 2);
  EXPECT_EQ(calls["cudaStreamSynchronize"], 2);
  EXPECT_EQ(calls["graphs_waited_for"], 0);
  calls = CallsOfStep("off", parts);
  EXPECT_EQ(calls["cudaStreamSynchronize"], 2);
}

// Convolutions are cuDNN's; a batch norm is four launches, two each way, and 19 of the layers are
// batch norms. So little is left that the methods' own launches have to be few.
TEST_P(CudaGraphTest, LaunchesAreFew) {
  constexpr double kLayers = 42;  // of a ResNet-20
  if (gpus() > 1) GTEST_SKIP() << "messages add copies and sums for each rank";
  static const std::map<std::string, double> most = {
      {"sgd", 2.2}, {"cd_adam", 2.2}, {"onebit_adam", 2.2}, {"ef21_bc", 2.41}};
  const auto found = most.find(method().name);
  if (found == most.end()) GTEST_SKIP() << "it takes more, or its settings do";
  const auto calls = CallsOfStep("off", {"--model", "resnet20", "--batch-size", "2"});
  EXPECT_LE(calls.at("cudaLaunchKernelExC"), found->second * kLayers);
  EXPECT_GT(calls.at("cudaLaunchKernelExC"), 4 * 19);
}

// Top-K's messages to sharded servers have lengths that differ from step to step. The host waits
// for them, once each way, and then reads what checks have found; values and indices it never sees.
// Since it waits anyway, it reads the loss before the worker's choice rather than at the end.
TEST_P(CudaGraphTest, BeforeLengthsAreKnownAStepIsTwoGraphs) {
  if (whole()) GTEST_SKIP() << "all of its step is";
  auto calls = CallsOfStep("on");
  EXPECT_EQ(calls["cudaGraphLaunch"], 2);
  EXPECT_EQ(calls["cudaStreamSynchronize"], 2 + 2 * 2);
  calls = CallsOfStep("off");
  EXPECT_EQ(calls["cudaGraphLaunch"], 0);
  EXPECT_EQ(calls["cudaStreamSynchronize"], 2 + 2 * 2);
}

INSTANTIATE_TEST_SUITE_P(All, CudaGraphTest,
                         ::testing::Combine(::testing::ValuesIn(Methods()),
                                            ::testing::Values(1, 2, 4)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_on_" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace thinwire
