// The whole program: runs, resumes, kills, and what a user does wrong.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "optim/optimizer.h"
#include "tests/train/run_fixture.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

TEST_F(RunTest, LeavesEverythingItPromises) {
  const ProgramResult result =
      RunProgram(TinyRun(folder_ / "run", {"--epochs", "2", "--opt", "adam", "--lr", "0.001"}));
  ASSERT_EQ(result.status, 0) << result.errors;
  const std::string run = folder_ / "run";
  const auto steps = Steps(run);
  ASSERT_EQ(steps.size(), 16u);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i]["step"], i + 1);
    EXPECT_EQ(steps[i]["epoch"], i / 8 + 1);
    for (const char* key : {"loss", "grad_norm", "lr", "images_per_second"}) {
      EXPECT_TRUE(steps[i][key].is_number()) << key;
    }
  }
  EXPECT_LT(steps.back()["loss"], steps.front()["loss"]);
  const std::string summary = ReadText(run + "/summary.csv");
  EXPECT_EQ(std::count(summary.begin(), summary.end(), '\n'), 3);
  EXPECT_TRUE(fs::exists(run + "/settings.toml"));
  EXPECT_TRUE(fs::exists(run + "/checkpoints/best.ckpt"));
  EXPECT_TRUE(fs::exists(run + "/checkpoints/step-00000016.ckpt"));
  bool events = false;
  for (const auto& entry : fs::directory_iterator(run)) {
    events = events || entry.path().filename().string().rfind("events.out.tfevents", 0) == 0;
    EXPECT_NE(entry.path().extension(), ".part");
  }
  EXPECT_TRUE(events);
}

TEST_F(RunTest, SameSeedSameBytes) {
  for (const char* name : {"a", "b"}) {
    ASSERT_EQ(RunProgram(TinyRun(folder_ / name, {"--max-steps", "10"})).status, 0);
  }
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "c", {"--max-steps", "10", "--seed", "1"})).status, 0);
  const std::string file = "/checkpoints/step-00000010.ckpt";
  EXPECT_EQ(ReadText((folder_ / "a") + file), ReadText((folder_ / "b") + file));
  EXPECT_NE(ReadText((folder_ / "a") + file), ReadText((folder_ / "c") + file));
}

TEST_F(RunTest, NeitherThreadsNorLoggingChangeTheResult) {
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "a", {"--max-steps", "10"})).status, 0);
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "b",
                               {"--max-steps", "10", "--data-threads", "3", "--log-interval", "7"}))
                .status,
            0);
  const std::string file = "/checkpoints/step-00000010.ckpt";
  EXPECT_EQ(ReadText((folder_ / "a") + file), ReadText((folder_ / "b") + file));
}

class ResumeTest : public RunTest, public ::testing::WithParamInterface<std::string> {};

// Stopped in the middle of an epoch (step 5 of 8) and of the second one (step 11).
TEST_P(ResumeTest, GivesTheBytesOfAnUninterruptedRun) {
  const Arguments settings = {"--opt",       GetParam(),
                              "--lr",        "0.01",
                              "--model-ema", "0.9",
                              "--clip-grad", "1",
                              "--freeze-steps", "7",
                              "--error-average-period", "4"};
  const auto run = [&](const std::string& name, const Arguments& more) {
    Arguments all = settings;
    all.insert(all.end(), more.begin(), more.end());
    const ProgramResult result = RunProgram(TinyRun(folder_ / name, all));
    ASSERT_EQ(result.status, 0) << result.errors;
  };
  run("whole", {"--max-steps", "20"});
  run("parts", {"--max-steps", "5"});
  run("parts", {"--max-steps", "11", "--resume", "auto"});
  run("parts", {"--max-steps", "20", "--resume", "auto"});
  for (const char* name : {"step-00000016.ckpt", "step-00000020.ckpt", "best.ckpt"}) {
    const std::string file = std::string("/checkpoints/") + name;
    ASSERT_TRUE(fs::exists((folder_ / "whole") + file)) << name;
    EXPECT_TRUE(ReadText((folder_ / "whole") + file) == ReadText((folder_ / "parts") + file))
        << name << " differs";
  }
  EXPECT_EQ(WithoutTimes(Steps(folder_ / "whole")), WithoutTimes(Steps(folder_ / "parts")));
}

INSTANTIATE_TEST_SUITE_P(Optimizers, ResumeTest, ::testing::ValuesIn(OptimizerNames()),
                         [](const auto& info) { return TestName(info.param); });

TEST_F(RunTest, ResumingTakesTheRunsOwnSettings) {
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "run", {"--max-steps", "4"})).status, 0);
  const ProgramResult result =
      RunProgram({"train", "--output", folder_ / "run", "--resume", "auto", "--max-steps", "6"});
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_EQ(Steps(folder_ / "run").size(), 6u);
}

TEST_F(RunTest, ResNetResumesBitForBit) {
  const Arguments model = {"--model", "resnet20", "--shapes-count", "128", "--shapes-test-count",
                           "32"};
  const auto run = [&](const std::string& name, const Arguments& more) {
    Arguments all = model;
    all.insert(all.end(), more.begin(), more.end());
    ASSERT_EQ(RunProgram(TinyRun(folder_ / name, all)).status, 0);
  };
  run("whole", {"--max-steps", "6"});
  run("parts", {"--max-steps", "3"});
  run("parts", {"--max-steps", "6", "--resume", "auto"});
  const std::string file = "/checkpoints/step-00000006.ckpt";
  EXPECT_TRUE(ReadText((folder_ / "whole") + file) == ReadText((folder_ / "parts") + file));
}

TEST_F(RunTest, MixedImagesResumeBitForBit) {
  const auto run = [&](const std::string& name, const Arguments& more) {
    Arguments all = {"--mixup", "0.4", "--cutmix", "1"};
    all.insert(all.end(), more.begin(), more.end());
    ASSERT_EQ(RunProgram(TinyRun(folder_ / name, all)).status, 0);
  };
  run("whole", {"--max-steps", "11"});
  run("parts", {"--max-steps", "5"});
  run("parts", {"--max-steps", "11", "--resume", "auto"});
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "unmixed", {"--max-steps", "11"})).status, 0);
  const std::string file = "/checkpoints/step-00000011.ckpt";
  EXPECT_TRUE(ReadText((folder_ / "whole") + file) == ReadText((folder_ / "parts") + file));
  EXPECT_NE(Steps(folder_ / "whole").back()["loss"], Steps(folder_ / "unmixed").back()["loss"]);
}

TEST_F(RunTest, SignalsFinishTheStepAndSave) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string run = folder_ / ("run" + std::to_string(signal));
    Program program(TinyRun(run, {"--epochs", "1000", "--checkpoint-interval", "1000000"}));
    while (ReadText(run + "/steps.jsonl").empty()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    program.Signal(signal);
    const ProgramResult result = program.Wait();
    EXPECT_EQ(result.status, 128 + signal) << result.errors;
    const auto steps = Steps(run);
    ASSERT_FALSE(steps.empty());
    std::vector<std::string> skipped;
    const auto checkpoint = CheckpointFolder(run + "/checkpoints", 3).LoadNewest(&skipped);
    ASSERT_TRUE(checkpoint.has_value());
    EXPECT_EQ(checkpoint->integers.at("step"), steps.back()["step"]);
  }
}

TEST_F(RunTest, AHundredKillsLoseAtMostOneInterval) {
  constexpr int kKills = 100, kInterval = 2;
  const Arguments settings = {
      "--epochs",        "100000", "--checkpoint-interval", std::to_string(kInterval),
      "--eval-interval", "0"};
  std::mt19937 random(7);
  std::uniform_int_distribution<int> milliseconds(0, 120);
  const std::string run = folder_ / "run";
  int64_t last_saved = 0;
  for (int i = 0; i < kKills; ++i) {
    Arguments arguments = settings;
    arguments.insert(arguments.end(), {"--resume", "auto"});
    Program program(TinyRun(run, arguments));
    // Kill at any moment of start-up in one of four rounds, else once it trains.
    const int64_t steps_before = static_cast<int64_t>(
        fs::exists(run + "/steps.jsonl") ? fs::file_size(run + "/steps.jsonl") : 0);
    if (i % 4 != 0) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (std::chrono::steady_clock::now() < deadline &&
             (!fs::exists(run + "/steps.jsonl") ||
              static_cast<int64_t>(fs::file_size(run + "/steps.jsonl")) <= steps_before)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds(random)));
    program.Signal(SIGKILL);
    program.Wait();

    if (!fs::exists(run + "/checkpoints")) continue;
    std::vector<std::string> skipped;
    const auto checkpoint = CheckpointFolder(run + "/checkpoints", 3).LoadNewest(&skipped);
    EXPECT_TRUE(skipped.empty()) << "unreadable after kill " << i << ": " << skipped.front();
    const int64_t saved = checkpoint ? checkpoint->integers.at("step") : 0;
    EXPECT_GE(saved, last_saved) << "kill " << i;
    last_saved = saved;
    // The last whole line tells how far the run had come.
    std::istringstream lines(ReadText(run + "/steps.jsonl"));
    int64_t reached = 0;
    for (std::string line; std::getline(lines, line);) {
      const auto step = nlohmann::json::parse(line, nullptr, false);
      if (!step.is_discarded()) reached = step["step"];
    }
    EXPECT_GE(saved, reached - kInterval) << "kill " << i;
  }
  EXPECT_GT(last_saved, kKills / 2) << "the kills left hardly any time to train";
  // Another run of as many steps, never disturbed, ends with the same bytes.
  const std::string steps = std::to_string(last_saved + 3);
  Arguments to_end = settings;
  to_end.insert(to_end.end(), {"--max-steps", steps});
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "whole", to_end)).status, 0);
  to_end.insert(to_end.end(), {"--resume", "auto"});
  ASSERT_EQ(RunProgram(TinyRun(run, to_end)).status, 0);
  char name[64];
  std::snprintf(name, sizeof(name), "/checkpoints/step-%08ld.ckpt", last_saved + 3);
  EXPECT_TRUE(ReadText(run + name) == ReadText((folder_ / "whole") + name));
}

TEST_F(RunTest, NonFiniteLossStopsBeforeTheUpdate) {
  const ProgramResult result =
      RunProgram(TinyRun(folder_ / "run", {"--opt", "sgd", "--lr", "1e30", "--sched", "constant",
                                           "--checkpoint-interval", "1"}));
  ExpectFailure(result, 1, {"step", "loss", "layer", "--lr"});
}

TEST_F(RunTest, NeverOverwritesARunSilently) {
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "run", {"--max-steps", "2"})).status, 0);
  const std::string before = ReadText((folder_ / "run") + "/steps.jsonl");
  ExpectFailure(RunProgram(TinyRun(folder_ / "run", {"--max-steps", "2"})), 2,
                {folder_ / "run", "--resume"});
  EXPECT_EQ(ReadText((folder_ / "run") + "/steps.jsonl"), before);
}

TEST_F(RunTest, RefusesToResumeAsAnotherRun) {
  ASSERT_EQ(RunProgram(TinyRun(folder_ / "run", {"--max-steps", "2"})).status, 0);
  ExpectFailure(RunProgram(TinyRun(folder_ / "run",
                                   {"--max-steps", "4", "--resume", "auto", "--opt", "adam"})),
                2, {"--opt", "adam", "nesterov"});
  ExpectFailure(RunProgram(TinyRun(folder_ / "run",
                                   {"--max-steps", "4", "--resume", "auto", "--model", "lenet"})),
                2, {"--model", "lenet", "mlp"});
}

TEST_F(RunTest, SecondProcessInTheSameRunIsRefused) {
  Program first(TinyRun(folder_ / "run", {"--epochs", "100000"}));
  while (ReadText((folder_ / "run") + "/steps.jsonl").empty()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ExpectFailure(RunProgram(TinyRun(folder_ / "run", {"--resume", "auto"})), 1,
                {"another thinwire", folder_ / "run"});
}

TEST_F(RunTest, CheckpointsOfOthersAndDamagedOnesAreNamed) {
  const std::string run = folder_ / "run";
  ASSERT_EQ(RunProgram(TinyRun(run, {"--max-steps", "3"})).status, 0);
  const std::string good = run + "/checkpoints/step-00000003.ckpt";
  const std::string bytes = ReadText(good);
  WriteText(folder_ / "short.ckpt", bytes.substr(0, bytes.size() / 2));
  std::string flipped = bytes;
  flipped[flipped.size() / 3] ^= 1;
  WriteText(folder_ / "flipped.ckpt", flipped);
  WriteText(folder_ / "foreign.ckpt", "PK\x03\x04 some archive");
  WriteText(folder_ / "empty.ckpt", "");
  for (const char* name : {"short.ckpt", "flipped.ckpt", "foreign.ckpt", "empty.ckpt"}) {
    ExpectFailure(RunProgram(TinyRun(folder_ / "new", {"--resume", folder_ / name})), 1, {name});
    EXPECT_FALSE(fs::exists(folder_ / "new")) << name;
  }
  // A damaged newest checkpoint is passed over when an older one is whole.
  ASSERT_EQ(RunProgram(TinyRun(run, {"--max-steps", "4", "--resume", "auto"})).status, 0);
  WriteText(run + "/checkpoints/step-00000004.ckpt", flipped);
  const ProgramResult result = RunProgram(TinyRun(run, {"--max-steps", "5", "--resume", "auto"}));
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("step-00000004.ckpt"), std::string::npos) << result.output;
  EXPECT_TRUE(fs::exists(run + "/checkpoints/step-00000005.ckpt"));
}

TEST_F(RunTest, ExportedWeightsEvaluateLikeTheCheckpoint) {
  const std::string run = folder_ / "run";
  ASSERT_EQ(RunProgram(TinyRun(run, {"--model", "lenet", "--epochs", "1"})).status, 0);
  const auto last_line = [](const std::string& text) {
    std::istringstream lines(text);
    std::string last;
    for (std::string line; std::getline(lines, line);) last = line;
    return nlohmann::json::parse(last);
  };
  const ProgramResult of_run = RunProgram({"eval", run, "--json"});
  ASSERT_EQ(of_run.status, 0) << of_run.errors;
  const ProgramResult exported =
      RunProgram({"export", run, "--output", folder_ / "weights.safetensors"});
  ASSERT_EQ(exported.status, 0) << exported.errors;
  const ProgramResult of_weights =
      RunProgram({"eval", "--model", "lenet", "--weights", folder_ / "weights.safetensors",
                  "--shapes-test-count", "64", "--batch-size", "32", "--json"});
  ASSERT_EQ(of_weights.status, 0) << of_weights.errors;
  EXPECT_EQ(last_line(of_run.output), last_line(of_weights.output));
  EXPECT_EQ(last_line(of_run.output)["total"], 64);
}

TEST_F(RunTest, WrongUsageExitsWithTwo) {
  ExpectFailure(RunProgram({"train", "--bach-size", "3"}), 2, {"--bach-size", "--batch-size"});
  ExpectFailure(RunProgram({"trian"}), 2, {"trian", "train"});
  ExpectFailure(RunProgram({"train", "--model", "resnet19"}), 2, {"resnet19"});
  ExpectFailure(RunProgram({"train", "--opt", "adm"}), 2, {"adm", "adam"});
  ExpectFailure(RunProgram({"train", "--lr", "fast"}), 2, {"--lr", "fast"});
  ExpectFailure(RunProgram({"train", "--batch-size", "0"}), 2, {"--batch-size", "0"});
  ExpectFailure(RunProgram({"train", "--device", "tpu"}), 2, {"tpu"});
  ExpectFailure(RunProgram({"train", "--resume", "auto"}), 2, {"--output"});
  ExpectFailure(RunProgram({"info", "resnet21"}), 2, {"resnet21"});
  WriteText(folder_ / "recipe.toml", "epochs = 3\nlearning-rat = 0.1\n");
  ExpectFailure(RunProgram({"train", "--config", folder_ / "recipe.toml"}), 2,
                {"recipe.toml", "learning-rat"});
}

TEST_F(RunTest, WrongDataForTheModel) {
  ExpectFailure(RunProgram(TinyRun(folder_ / "run", {"--num-classes", "5"})), 2,
                {"--num-classes", "5", "10"});
  ExpectFailure(RunProgram(TinyRun(folder_ / "run2", {"--batch-size", "1000"})), 2,
                {"--batch-size", "1000", "256"});
  ExpectFailure(RunProgram(TinyRun(folder_ / "run3",
                                   {"--dataset", "cifar10", "--data-dir", folder_ / "nowhere"})),
                2, {"nowhere", "--data-dir"});
}

TEST_F(RunTest, UnwritableOutput) {
  WriteText(folder_ / "file", "precious");
  ExpectFailure(RunProgram(TinyRun(folder_ / "file")), 2, {folder_ / "file"});
  ExpectFailure(RunProgram(TinyRun((folder_ / "file") + "/run")), 1, {folder_ / "file"});
  EXPECT_EQ(ReadText(folder_ / "file"), "precious");
}

TEST_F(RunTest, FileThatCannotGrowFailsCleanly) {
  const std::string run = folder_ / "run";
  ASSERT_EQ(RunProgram(TinyRun(run, {"--max-steps", "2"})).status, 0);
  const std::string good = ReadText(run + "/checkpoints/step-00000002.ckpt");
  ExpectFailure(RunProgram(TinyRun(run, {"--max-steps", "4", "--resume", "auto"}), 1 << 16), 1,
                {"step-00000004.ckpt"});
  EXPECT_EQ(ReadText(run + "/checkpoints/step-00000002.ckpt"), good);
  for (const auto& entry : fs::directory_iterator(run + "/checkpoints")) {
    EXPECT_NE(entry.path().extension(), ".part");
    EXPECT_NE(entry.path().filename(), "step-00000004.ckpt");
  }
}

TEST_F(RunTest, FullDiskFailsCleanly) {
  const std::string disk = folder_ / "disk";
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=9m") != 0) {
    GTEST_SKIP() << "mounting a small disk needs root";
  }
  // A checkpoint of this network with momentum takes about 6.6 MB: the second one does not fit.
  const std::string run = disk + "/run";
  const ProgramResult result =
      RunProgram(TinyRun(run, {"--max-steps", "6", "--checkpoint-interval", "3"}));
  ExpectFailure(result, 1, {"step-00000006.ckpt"});
  std::vector<std::string> skipped;
  const auto checkpoint = CheckpointFolder(run + "/checkpoints", 3).LoadNewest(&skipped);
  ASSERT_TRUE(checkpoint.has_value());
  EXPECT_EQ(checkpoint->integers.at("step"), 3);
  EXPECT_TRUE(skipped.empty());
  umount(disk.c_str());
}

}  // namespace
}  // namespace thinwire
