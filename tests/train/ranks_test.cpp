// Whole runs of several ranks: threads and processes, resumes, changes of their number, faults.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include "optim/optimizer.h"
#include "tests/train/run_fixture.h"
#include "train/checkpoint.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class RanksTest : public RunTest {
 protected:
  /// 256 images: with 3 workers 8 steps an epoch, with 4 workers 6.
  Arguments Workers(int workers, const std::string& name, const Arguments& more = {}) const {
    Arguments all = {"--model", "lenet",   "--batch-size", "10",        "--lr",
                     "0.01",    "--sched", "constant",     "--workers", std::to_string(workers)};
    all.insert(all.end(), more.begin(), more.end());
    return TinyRun(folder_ / name, all);
  }
  static std::set<std::string> Files(const std::string& run) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(run + "/checkpoints")) {
      names.insert(entry.path().filename());
    }
    return names;
  }
  /// Expects equal checkpoints, the ranks' parts included, and equal logs but for times.
  void ExpectSameRuns(const std::string& a, const std::string& b) const {
    EXPECT_EQ(Files(folder_ / a), Files(folder_ / b));
    for (const std::string& file : Files(folder_ / a)) {
      const std::string path = "/checkpoints/" + file;
      EXPECT_TRUE(ReadText((folder_ / a) + path) == ReadText((folder_ / b) + path))
          << file << " differs";
    }
    EXPECT_EQ(WithoutTimes(Steps(folder_ / a)), WithoutTimes(Steps(folder_ / b)));
  }
};

// Nor is it trained on the CPU instead.
TEST_F(RanksTest, AGpuThatIsNotThereIsAnError) {
  for (const Arguments& gpus : {Arguments{"--gpus", "99"}, {"--gpus", "99,98"}}) {
    ExpectFailure(RunProgram(TinyRun(folder_ / "run", gpus)), 2, {});
    EXPECT_FALSE(fs::exists(folder_ / "run"));
  }
}

struct ResumeCase {
  std::string opt;
  int workers;
};

class RanksResumeTest : public RanksTest, public ::testing::WithParamInterface<ResumeCase> {};

// Stopped in the middle of an epoch, before and after 1-bit Adam freezes and SAEF averages.
TEST_P(RanksResumeTest, GivesTheBytesOfAnUninterruptedRun) {
  const auto run = [&](const std::string& name, const Arguments& more) {
    Arguments all = {"--opt",
                     GetParam().opt,
                     "--error-average-period",
                     "4",
                     "--freeze-steps",
                     "5",
                     "--clip-grad",
                     "1"};
    all.insert(all.end(), more.begin(), more.end());
    const ProgramResult result = RunProgram(Workers(GetParam().workers, name, all));
    ASSERT_EQ(result.status, 0) << result.errors;
  };
  run("whole", {"--max-steps", "11"});
  run("parts", {"--max-steps", "3"});
  run("parts", {"--max-steps", "7", "--resume", "auto"});
  run("parts", {"--max-steps", "11", "--resume", "auto"});
  const std::set<std::string> whole = Files(folder_ / "whole");
  for (const std::string& file : Files(folder_ / "parts")) {
    if (!whole.contains(file)) fs::remove((folder_ / "parts") + "/checkpoints/" + file);
  }
  ExpectSameRuns("whole", "parts");
}

std::vector<ResumeCase> ResumeCases() {
  std::vector<ResumeCase> cases;
  for (const std::string& opt : OptimizerNames()) {
    for (const int workers : {3, 4}) cases.push_back({opt, workers});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Optimizers, RanksResumeTest, ::testing::ValuesIn(ResumeCases()),
                         [](const auto& info) {
                           return TestName(info.param.opt) + "_on_" +
                                  std::to_string(info.param.workers);
                         });

// Batch norm's statistics are each rank's own, and so is dropout; their averages are common.
TEST_F(RanksTest, BatchNormAndAveragesResumeBitForBit) {
  const auto run = [&](const std::string& name, const Arguments& more) {
    Arguments all = {"--model",
                     "resnet20",
                     "--shapes-count",
                     "64",
                     "--opt",
                     "cd-adam",
                     "--epochs",
                     "2",
                     "--batch-size",
                     "8",
                     "--model-ema",
                     "0.9",
                     "--grad-accum-steps",
                     "2"};
    all.insert(all.end(), more.begin(), more.end());
    const ProgramResult result = RunProgram(Workers(2, name, all));
    ASSERT_EQ(result.status, 0) << result.errors;
  };
  run("whole", {"--checkpoint-hist", "1"});
  run("parts", {"--max-steps", "3"});
  run("parts", {"--checkpoint-hist", "1", "--max-steps", "0", "--resume", "auto"});
  ExpectSameRuns("whole", "parts");
  const Checkpoint common = ReadCheckpoint((folder_ / "whole") + "/checkpoints/step-00000004.ckpt");
  Checkpoint parts[2];
  for (int rank = 0; rank < 2; ++rank) {
    parts[rank] = ReadCheckpoint((folder_ / "whole") + "/checkpoints/step-00000004.rank-" +
                                 std::to_string(rank) + ".ckpt");
  }
  const std::string name = "state/bn1.running_mean";
  ASSERT_TRUE(common.vectors.contains(name));
  EXPECT_NE(parts[0].vectors.at(name), parts[1].vectors.at(name));
  for (size_t i = 0; i < common.vectors.at(name).size(); ++i) {
    EXPECT_EQ(
        common.vectors.at(name)[i],
        static_cast<float>(
            (double{parts[0].vectors.at(name)[i]} + double{parts[1].vectors.at(name)[i]}) * 0.5));
  }
}

TEST_F(RanksTest, ProcessesGiveTheBytesOfThreads) {
  if (!HasMpi()) GTEST_SKIP() << "there is no mpirun, or the program is built without MPI";
  const Arguments settings = {"--opt", "cd-adam", "--epochs", "1", "--measure-interval", "2"};
  const ProgramResult threads = RunProgram(Workers(3, "threads", settings));
  ASSERT_EQ(threads.status, 0) << threads.errors;
  const ProgramResult processes = RunRanks(3, Workers(1, "processes", settings));
  ASSERT_EQ(processes.status, 0) << processes.errors;
  ExpectSameRuns("threads", "processes");
  EXPECT_NE(processes.output.find("3 ranks over MPI"), std::string::npos) << processes.output;
  // And either goes on where the other stopped.
  const Arguments rest = {"--opt", "cd-adam", "--epochs", "2", "--resume", "auto"};
  ASSERT_EQ(RunProgram(Workers(3, "processes", rest)).status, 0);
  ASSERT_EQ(RunRanks(3, Workers(1, "threads", rest)).status, 0);
  ExpectSameRuns("threads", "processes");
}

TEST_F(RanksTest, AnotherNumberOfWorkersSaysWhatItDoes) {
  for (const std::string opt : {"cd-adam", "ef-sgdm", "ef21-bc", "momentum"}) {
    const std::string run = folder_ / opt;
    const auto workers = [&](int count, const Arguments& more) {
      Arguments all = {"--opt", opt, "--lr", "0.0001"};
      all.insert(all.end(), more.begin(), more.end());
      return RunProgram(Workers(count, opt, all));
    };
    ASSERT_EQ(workers(4, {"--max-steps", "7"}).status, 0);
    for (const int count : {3, 4, 1}) {
      const std::string steps = std::to_string(Steps(run).size() + 7);
      const ProgramResult result = workers(count, {"--max-steps", steps, "--resume", "auto"});
      ASSERT_EQ(result.status, 0) << result.errors;
      EXPECT_NE(result.output.find("-> " + std::to_string(count) + " workers: "), std::string::npos)
          << result.output;
      EXPECT_EQ(Steps(run).size(), static_cast<size_t>(std::stoi(steps)));
    }
  }
}

TEST_F(RanksTest, FilesOfOldStepsGoWithTheirCheckpoints) {
  ASSERT_EQ(RunProgram(Workers(3, "run",
                               {"--max-steps", "7", "--checkpoint-interval", "1",
                                "--checkpoint-hist", "2"}))
                .status,
            0);
  std::set<std::string> expected;
  for (const std::string step : {"step-00000006", "step-00000007"}) {
    expected.insert(step + ".ckpt");
    for (const char* rank : {"0", "1", "2"}) expected.insert(step + ".rank-" + rank + ".ckpt");
  }
  EXPECT_EQ(Files(folder_ / "run"), expected);
}

TEST_F(RanksTest, PartsOfOtherSavesAndDamagedOnesAreNamed) {
  const std::string run = folder_ / "run", part = run + "/checkpoints/step-00000003.rank-1.ckpt";
  ASSERT_EQ(RunProgram(Workers(3, "run", {"--max-steps", "3", "--opt", "cd-adam"})).status, 0);
  const std::string bytes = ReadText(part);
  const auto expect_failure = [&](const Arguments& mentioned) {
    for (const int workers : {3, 2}) {
      const Arguments resume = {"--opt", "cd-adam", "--max-steps", "5", "--resume", "auto"};
      ExpectFailure(RunProgram(Workers(workers, "run", resume)), 1, mentioned);
      if (HasMpi()) {
        ExpectFailure(OwnLines(RunRanks(workers, Workers(1, "run", resume))), 1, mentioned);
      }
    }
  };
  std::string flipped = bytes;
  flipped[flipped.size() / 2] ^= 1;
  WriteText(part, flipped);
  expect_failure({"rank-1.ckpt", "damaged"});
  WriteText(part, ReadText(run + "/checkpoints/step-00000003.rank-2.ckpt"));
  expect_failure({"rank-1.ckpt", "not of the same save"});
  fs::remove(part);
  expect_failure({"rank-1.ckpt", "missing"});
  WriteText(part, bytes);
  EXPECT_EQ(
      RunProgram(Workers(3, "run", {"--opt", "cd-adam", "--max-steps", "5", "--resume", "auto"}))
          .status,
      0);
}

TEST_F(RanksTest, RanksOfOtherSettingsAreNamed) {
  if (!HasMpi()) GTEST_SKIP() << "there is no mpirun, or the program is built without MPI";
  const auto run = [&](const Arguments& other) {
    return OwnLines(Program(MpiCommand({{1, Workers(1, "run", {"--max-steps", "2"})},
                                        {1, Workers(1, "run", other)}}))
                        .Wait());
  };
  ExpectFailure(run({"--max-steps", "2", "--lr", "0.5"}), 2, {"rank 1 on", "--lr 0.5", "0.01"});
  ExpectFailure(run({"--max-steps", "2", "--model", "mlp"}), 2, {"rank 1 on", "--model mlp"});
  EXPECT_FALSE(fs::exists(folder_ / "run"));
  ExpectFailure(OwnLines(RunRanks(2, Workers(2, "run"))), 2, {"--workers", "mpirun"});
  ExpectFailure(OwnLines(RunRanks(2, {"eval", "run"})), 2, {"mpirun"});
}

TEST_F(RanksTest, FailuresNameTheRankAndEndTheRun) {
  const Arguments settings = {"--opt", "sgd", "--lr", "1e30", "--max-steps", "9"};
  ExpectFailure(RunProgram(Workers(3, "threads", settings)), 1, {"rank ", "step"});
  ExpectFailure(RunProgram(Workers(100, "few", {})), 2, {"100 ranks", "smaller batch"});
  if (!HasMpi()) return;
  ExpectFailure(OwnLines(RunRanks(3, Workers(1, "processes", settings))), 1, {"rank ", "step"});
}

TEST_F(RanksTest, ASignalStopsAllRanksAfterTheSameStep) {
  const std::string run = folder_ / "run";
  Program program(Workers(3, "run", {"--epochs", "1000", "--checkpoint-interval", "1000000"}));
  while (ReadText(run + "/steps.jsonl").empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  program.Signal(SIGTERM);
  const ProgramResult result = program.Wait();
  EXPECT_EQ(result.status, 128 + SIGTERM) << result.errors;
  const auto reached = Steps(run).back()["step"].get<int64_t>();
  ASSERT_EQ(RunProgram(
                Workers(3, "run", {"--max-steps", std::to_string(reached + 1), "--resume", "auto"}))
                .status,
            0);
  EXPECT_EQ(Steps(run).back()["step"], reached + 1);
}

// 7 rows for 3 workers; f is the mean over workers, not over rows.
class RegressionRunTest : public RanksTest {
 protected:
  RegressionRunTest() {
    WriteText(folder_ / "rows",
              "+1 1:1 3:0.5\n-1 2:2\n+1 1:-1 2:0.25\n-1 3:3\n+1 2:1 3:1\n-1 1:0.5\n+1 3:-2\n");
  }
  Arguments Rows(int workers, const std::string& name, const Arguments& more = {}) const {
    Arguments all = {"train",
                     "--model",
                     "logreg",
                     "--dataset",
                     "libsvm",
                     "--data-dir",
                     folder_.path(),
                     "--train-files",
                     "rows",
                     "--dtype",
                     "f64",
                     "--batch-size",
                     "full",
                     "--lr",
                     "0.1",
                     "--log-interval",
                     "1",
                     "--workers",
                     std::to_string(workers),
                     "--output",
                     folder_ / name};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(RegressionRunTest, LogsTheFullObjectiveAtTheNewPoint) {
  ASSERT_EQ(RunProgram(Rows(3, "run", {"--opt", "sgd", "--max-steps", "1"})).status, 0);
  // By hand, at x = 0: each row's gradient is -y a / 2, blocks are rows 0-2, 3-4, 5-6.
  const double gradient[3] = {-((1 - 1) / 6.0 + 0 - 0.25 / 2) / 3, -((-2 + 0.25) / 6 + 1 / 4.0) / 3,
                              -((0.5) / 6 + (1 - 3) / 4.0 - 2 / 4.0) / 3};
  double x[3], loss = 0;
  for (int j = 0; j < 3; ++j) x[j] = -0.1 * gradient[j];
  const struct {
    double y, a[3];
    int block;
  } rows[] = {{1, {1, 0, 0.5}, 3}, {-1, {0, 2, 0}, 3},   {1, {-1, 0.25, 0}, 3}, {-1, {0, 0, 3}, 2},
              {1, {0, 1, 1}, 2},   {-1, {0.5, 0, 0}, 2}, {1, {0, 0, -2}, 2}};
  for (const auto& row : rows) {
    double margin = 0;
    for (int j = 0; j < 3; ++j) margin += row.y * row.a[j] * x[j];
    loss += std::log1p(std::exp(-margin)) / row.block / 3;
  }
  for (const double value : x) loss += 0.1 * value * value / (1 + value * value);
  const auto steps = Steps(folder_ / "run");
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_NEAR(steps[0]["loss"], loss, 1e-14);
  EXPECT_EQ(steps[0]["paper_bits_up"], 3 * 32);
}

TEST_F(RegressionRunTest, ResumesBitForBitAndOnProcesses) {
  for (const Arguments& batch : {Arguments{"--batch-size", "full"}, {"--batch-size", "1"}}) {
    const auto run = [&](const std::string& name, const Arguments& more) {
      Arguments all = batch;
      all.insert(all.end(), {"--opt", "ef21-sgdm", "--checkpoint-interval", "5"});
      all.insert(all.end(), more.begin(), more.end());
      return Rows(3, name, all);
    };
    ASSERT_EQ(RunProgram(run("whole", {"--max-steps", "10"})).status, 0);
    ASSERT_EQ(RunProgram(run("parts", {"--max-steps", "5"})).status, 0);
    ASSERT_EQ(RunProgram(run("parts", {"--max-steps", "10", "--resume", "auto"})).status, 0);
    ExpectSameRuns("whole", "parts");
    if (HasMpi()) {
      ASSERT_EQ(RunRanks(3, run("processes", {"--max-steps", "10", "--workers", "1"})).status, 0);
      ExpectSameRuns("whole", "processes");
    }
    for (const char* name : {"whole", "parts", "processes"}) fs::remove_all(folder_ / name);
  }
}

TEST_F(RegressionRunTest, DataThatDoesNotFit) {
  ExpectFailure(RunProgram(Rows(8, "many")), 2, {"7 rows", "8 workers"});
  ExpectFailure(RunProgram(Rows(3, "large", {"--batch-size", "3"})), 2,
                {"--batch-size 3", "2 rows"});
  WriteText(folder_ / "wide", "+1 4:1\n-1 1:1\n");
  ExpectFailure(RunProgram(Rows(3, "wide-test", {"--test-files", "wide"})), 1, {"4 features"});
}

}  // namespace
}  // namespace thinwire
