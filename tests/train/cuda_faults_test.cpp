// What a user sees when something fails on GPUs: one line that says what and where, soon, and
// nothing half made.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "comm/failure.h"
#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class CudaFaultsTest : public RunTest {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() < 2) GTEST_SKIP() << "fewer than 2 GPUs: " << kNoGpu;
  }
  Arguments SmallRun(const Arguments& more) const {
    Arguments all = {"--model", "lenet", "--batch-size", "8",    "--max-steps",     "3",
                     "--lr",    "0.001", "--device",     "cuda", "--eval-interval", "0"};
    all.insert(all.end(), more.begin(), more.end());
    return TinyRun(folder_ / "run", all);
  }
  /// Runs the program with a fault: "NAME=VALUE" as tests/cuda_faults.cpp reads it.
  static ProgramResult RunWith(const std::string& fault, const Arguments& arguments) {
    Program::Command command{{"env", "LD_PRELOAD=" THINWIRE_CUDA_FAULTS, fault, THINWIRE_BINARY}};
    command.words.insert(command.words.end(), arguments.begin(), arguments.end());
    return Program(command).Wait();
  }
  /// No checkpoint of a run that has not got so far, nothing that was to be renamed, whole lines.
  void ExpectNoHalfMadeFiles() const {
    EXPECT_TRUE(fs::is_empty(folder_ / "run/checkpoints"));
    for (const auto& entry : fs::directory_iterator(folder_ / "run")) {
      EXPECT_NE(entry.path().extension(), ".part") << entry.path();
    }
    EXPECT_NO_THROW(Steps(folder_ / "run"));
  }
};

struct FailingCall {
  std::string call;  // and which one of its kind
  int gpus;
  Arguments mentioned;
};

class CudaCallFaultsTest : public CudaFaultsTest,
                           public ::testing::WithParamInterface<FailingCall> {};

TEST_P(CudaCallFaultsTest, SurfaceAsOneLine) {
  const FailingCall& failing = GetParam();
  const std::string gpus = failing.gpus == 1 ? "0" : "0,1";
  ExpectFailure(RunWith("THINWIRE_FAULT=" + failing.call, SmallRun({"--gpus", gpus})), 1,
                failing.mentioned);
  ExpectNoHalfMadeFiles();
}

INSTANTIATE_TEST_SUITE_P(
    All, CudaCallFaultsTest,
    ::testing::Values(
        FailingCall{"cudaMemcpyAsync:30",
                    1,
                    {"cudaMemcpyAsync(", "cuda_device.cpp:", "CUDA device 0", "invalid argument"}},
        FailingCall{"cudaStreamSynchronize:20",
                    1,
                    {"cudaStreamSynchronize(", "cuda_device.cpp:", "CUDA device 0"}},
        FailingCall{"cudaLaunchKernelExC:40",
                    1,
                    {"failed at", "launch.cpp:", "CUDA device 0", "cudaErrorInvalidConfiguration"}},
        FailingCall{"cudnnCreate:1", 1, {"cudnnCreate(", "convolution_plan.cpp:", "CUDA device 0"}},
        FailingCall{"cudnnBackendExecute:3",
                    1,
                    {"cuDNN's execute for the weight gradient",
                     "convolution_plan.cpp:", "CUDA device 0", "CUDNN_STATUS_EXECUTION_FAILED"}},
        FailingCall{"cublasLtMatmul:3", 1, {"cublasLtMatmul(", "linear.cpp:", "CUDA device 0"}},
        FailingCall{"cudaLaunchKernelExC:60",
                    2,
                    {"failed at", "launch.cpp:", "CUDA device ", "rank ", HostName()}},
        FailingCall{"ncclGetUniqueId:1",
                    2,
                    {"ncclGetUniqueId", "nccl_communicator.cpp:", "CUDA device 0", "rank 0"}},
        FailingCall{"ncclAllGather:2",
                    2,
                    {"all-gather at step", "nccl_communicator.cpp:", "CUDA device ", "rank ",
                     "invalid argument"}},
        FailingCall{
            "ncclSend:2",
            2,
            {"at step", "nccl_communicator.cpp:", "CUDA device ", "rank ", "invalid usage"}}),
    [](const auto& info) {
      return info.param.call.substr(0, info.param.call.find(':')) + "_on_" +
             std::to_string(info.param.gpus);
    });

// A step's streams wait five times: for its batch, twice for a bucket's gradients, for the buckets,
// and for the place of the next batch. A graph without the fourth wait, the fifth of the run, would
// end before all of its work.
TEST_F(CudaFaultsTest, AMissingWaitForTheSecondStreamIsFound) {
  const Arguments run =
      SmallRun({"--gpus", "0,1", "--opt", "sgd", "--max-steps", "6", "--dist-timeout", "60"});
  ExpectFailure(RunWith("THINWIRE_SKIP=cudaStreamWaitEvent:5", run), 1,
                {"cudaStreamEndCapture(", "step_recorder.cpp:"});
  ExpectNoHalfMadeFiles();
}

class OutOfMemoryTest : public CudaFaultsTest {
 protected:
  ProgramResult Run(int64_t memory, int64_t batch, const Arguments& more = {}) {
    Arguments all = {
        "--batch-size", std::to_string(batch), "--shapes-count", "512", "--max-steps", "1", "--opt",
        "adam"};
    all.insert(all.end(), more.begin(), more.end());
    return RunWith("THINWIRE_FAULT_MEMORY=" + std::to_string(memory), SmallRun(all));
  }
  static int64_t Suggested(const ProgramResult& failed) {
    const std::string flag = "--batch-size ";
    const size_t at = failed.errors.find(flag);
    return at == std::string::npos ? 0 : std::stoll(failed.errors.substr(at + flag.size()));
  }
};

// The failed run's folder is not in the way of the next.
TEST_F(OutOfMemoryTest, NamesABatchThatFits) {
  constexpr int64_t kMemory = 6 << 20, kBatch = 500;
  const ProgramResult failed = Run(kMemory, kBatch);
  ExpectFailure(failed, 1,
                {"out of memory on CUDA device 0: asked for ", " MiB for activations; ",
                 " of 6.0 MiB are free", " for parameters and gradients", " for optimizer state",
                 "; --batch-size ", " would fit"});
  ExpectNoHalfMadeFiles();
  const int64_t batch = Suggested(failed);
  ASSERT_GE(batch, 8) << failed.errors;
  ASSERT_LT(batch, kBatch) << failed.errors;
  const ProgramResult fits = Run(kMemory, batch);
  EXPECT_EQ(fits.status, 0) << fits.errors;
  fs::remove_all(folder_ / "run");
  EXPECT_EQ(Run(kMemory, 2 * batch).status, 1) << "--batch-size " << batch << " is too modest";
}

// Two workers of one GPU are told of a batch that fits both.
TEST_F(OutOfMemoryTest, CountsTheWorkersOfAGpu) {
  const Arguments workers = {"--gpus", "0", "--workers-per-gpu", "2"};
  const ProgramResult failed = Run(12 << 20, 250, workers);
  ExpectFailure(failed, 1, {"rank ", HostName(), "out of memory", "; --batch-size ", "would fit"});
  const int64_t batch = Suggested(failed);
  const ProgramResult fits = Run(12 << 20, batch, workers);
  EXPECT_EQ(fits.status, 0) << fits.errors;
}

TEST_F(OutOfMemoryTest, SaysWhereNoBatchFits) {
  ExpectFailure(Run(700 << 10, 8), 1,
                {"out of memory", "for optimizer state; ", "no batch would fit", "smaller model"});
  ExpectNoHalfMadeFiles();
}

// Processes, one a GPU, that talk over NCCL.
class CudaRankFaultsTest : public CudaFaultsTest {
 protected:
  void SetUp() override {
    CudaFaultsTest::SetUp();
    if (IsSkipped()) return;
    if (!HasMpi()) GTEST_SKIP() << "there is no mpirun, or the program is built without MPI";
  }

  /// The process of a rank that trains into this test's folder; 0 if there is none.
  pid_t ProcessOf(int rank) const {
    const std::string variable = fmt::format("OMPI_COMM_WORLD_RANK={}", rank) + '\0';
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const pid_t process = std::atoi(entry.path().filename().c_str());
      if (process <= 0 || !Contains(entry.path() / "cmdline", folder_ / "run")) continue;
      if (Contains(entry.path() / "environ", variable)) return process;
    }
    return 0;
  }
  static bool Contains(const fs::path& path, const std::string& text) {
    return ReadText(path).find(text) != std::string::npos;
  }

  /// Sends rank 1 a signal while it trains. Rank 0 ends within `seconds` with one line that names
  /// it.
  void ExpectEnd(int signal, double timeout, double seconds, const Arguments& mentioned) {
    ProgramResult result;
    // A stand-in for NCCL may see a rank die before we do, and abort, which NCCL does not.
    for (int attempt = 0; attempt < 5; ++attempt) {
      fs::remove_all(folder_ / "run");
      result = RunAndSignal(signal, timeout, seconds);
      if (HasFailure() || result.errors.find("Signal: Aborted") == std::string::npos) break;
    }
    EXPECT_NE(result.status, 0);
    ExpectFailure(OwnLines(result), result.status, mentioned);
    for (int rank = 0; rank < 2; ++rank) {
      for (int i = 0; i < 100 && ProcessOf(rank) != 0; ++i) Sleep(0.02);
      EXPECT_EQ(ProcessOf(rank), 0) << "rank " << rank << " lingers";
    }
  }
  ProgramResult RunAndSignal(int signal, double timeout, double seconds) {
    Program program(MpiCommand(
        {{2, SmallRun({"--max-steps", "1000000", "--dist-timeout", fmt::format("{}", timeout)})}}));
    const std::string steps = folder_ / "run/steps.jsonl";
    for (int i = 0; i < 3000 && ReadText(steps).empty(); ++i) Sleep(0.02);
    EXPECT_NE(program.output().find("NCCL"), std::string::npos) << program.output();
    const pid_t process = ProcessOf(1);
    if (process == 0) {
      ADD_FAILURE() << "rank 1 does not run: " << program.output();
      return {};
    }
    const double start = MonotonicSeconds();
    kill(process, signal);
    const ProgramResult result = program.Wait();
    EXPECT_LT(MonotonicSeconds() - start, seconds);
    return result;
  }
  static void Sleep(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }
};

TEST_F(CudaRankFaultsTest, AKilledRank) {
  ExpectEnd(SIGKILL, 20, 20, {" at step ", "rank 1 on " + HostName(), "has ended"});
}

TEST_F(CudaRankFaultsTest, AStoppedRank) {
  // Launchers and processes take a while to end on a busy machine.
  constexpr double kSlack = 15;
  ExpectEnd(SIGSTOP, 5, 5 + kSlack,
            {" at step ", "no progress for 5 s", "rank 1 on " + HostName(), "--dist-timeout"});
}

}  // namespace
}  // namespace thinwire
