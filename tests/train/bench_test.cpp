// thinwire bench: that every line is there and makes sense. How fast anything is, is not tested.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"
#include "train/bench_command.h"
#include "train/timing.h"

namespace thinwire {
namespace {

using nlohmann::json;

class BenchTest : public RunTest {
 protected:
  void SetUp() override {
    const std::unique_ptr<Device> device = MakeTestDevice();
    if (device == nullptr) GTEST_SKIP() << kNoGpu;
    device_ = device->kind();
  }

  Arguments Quick(const std::string& subject, const Arguments& more = {}) const {
    Arguments arguments = {"bench",     subject, "--quick",  "--json",
                           "--threads", "1",     "--device", device_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  /// The last line of a run that has to go well.
  static json LastLine(const ProgramResult& result) {
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(result.errors, "");
    std::istringstream lines(result.output);
    std::string last;
    for (std::string line; std::getline(lines, line);) last = line;
    return json::parse(last);
  }

  static void ExpectPositive(const json& line, const std::string& key) {
    ASSERT_TRUE(line.contains(key)) << key << " is not in " << line;
    EXPECT_TRUE(std::isfinite(line[key].get<double>())) << key << " in " << line;
    EXPECT_GT(line[key].get<double>(), 0) << key << " in " << line;
  }

  std::string device_;
};

TEST_F(BenchTest, KernelsHaveALineEach) {
  const ProgramResult result = RunProgram(Quick("kernels"));
  const json report = LastLine(result);
  EXPECT_EQ(report["bench"], "kernels");
  ExpectPositive(report, "copy_gb_per_s");
  ExpectPositive(report, "product_tflop_per_s");
  std::set<std::string> names;
  for (const json& line : report["kernels"]) {
    const std::string name = line["name"];
    EXPECT_TRUE(names.insert(name).second) << name << " is there twice";
    EXPECT_NE(result.output.find("\n" + name + " "), std::string::npos) << name;
    const bool moves = line.contains("gb_per_s");
    ExpectPositive(line, "ms");
    ExpectPositive(line, moves ? "bytes" : "operations");
    ExpectPositive(line, moves ? "gb_per_s" : "tflop_per_s");
    ExpectPositive(line, "share");
    // The fastest of these is the peak, whatever the machine does meanwhile.
    if (name.starts_with("linear/")) {
      EXPECT_LE(line["share"], 1.0) << line;
    }
  }
  for (const char* name : {"copy",
                           "sign/pack",
                           "sign/pack_difference",
                           "sign/pack_mean_difference/4",
                           "sign/mean/1",
                           "sign/add",
                           "sign/add_and_update",
                           "top_k",
                           "scatter_add",
                           "momentum",
                           "adam",
                           "amsgrad",
                           "add+relu",
                           "batch_norm+relu/16/forward",
                           "batch_norm+relu/16/backward",
                           "batch_norm+add+relu/16/backward",
                           "softmax_loss/10",
                           "linear/32/forward",
                           "linear/32/data",
                           "linear/32/weights",
                           "convolution/32x32x4/forward",
                           "convolution/32x32x4/data",
                           "convolution/32x32x4/weights"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST_F(BenchTest, StepHasItsPhases) {
  for (const char* workers : {"1", "2"}) {
    SCOPED_TRACE(workers);
    const ProgramResult result =
        RunProgram(Quick("step", {"--model", "mlp", "--opt", "ef21-bc", "--workers", workers}));
    const json report = LastLine(result);
    EXPECT_EQ(report["bench"], "step");
    EXPECT_EQ(report["model"], "mlp");
    EXPECT_EQ(report["opt"], "ef21-bc");
    EXPECT_EQ(report["ranks"], std::stoi(workers));
    ExpectPositive(report, "images_per_second");
    for (const char* phase :
         {"step", "forward", "backward", "compress", "wire", "decode", "update"}) {
      const std::string key = std::string(phase) + "_ms";
      if (key == "wire_ms" && report["ranks"] == 1) {
        EXPECT_GE(report[key].get<double>(), 0);  // a GPU by itself does not even pretend to send
      } else {
        ExpectPositive(report, key);
      }
      EXPECT_NE(result.output.find("\n" + std::string(phase) + " "), std::string::npos) << phase;
    }
    const double images = report["batch_size"].get<double>() * report["ranks"].get<double>();
    EXPECT_NEAR(report["images_per_second"].get<double>() * report["step_ms"].get<double>() / 1e3,
                images, 1e-6 * images);
  }
}

void ExpectCollectives(const json& report, int ranks) {
  EXPECT_EQ(report["bench"], "comm");
  EXPECT_EQ(report["ranks"], ranks);
  ASSERT_EQ(report["collectives"].size(), 6u);
  double best = 0;
  for (size_t i = 0; i < 6; ++i) {
    const json& line = report["collectives"][i];
    const char* const names[] = {"all-reduce", "all-gather", "all-to-all"};
    EXPECT_EQ(line["name"], names[i % 3]);
    const int64_t bytes = i < 3 ? 4096 : 32768;
    EXPECT_EQ(line["bytes"], bytes);
    const int64_t part = bytes / ranks;  // but for what does not divide
    const int64_t sent = line["sent_bytes"];
    EXPECT_NEAR(static_cast<double>(sent),
                static_cast<double>(part * (ranks - 1) * (i % 3 == 0 ? 2 : 1)), 16 * ranks);
    EXPECT_GT(line["ms"], 0);
    EXPECT_GT(line["gb_per_s"], 0);
    EXPECT_GT(line["share"], 0);
    EXPECT_LE(line["share"], 1);
    best = std::max(best, line["share"].get<double>());
  }
  EXPECT_EQ(best, 1);
}

TEST_F(BenchTest, CollectivesHaveALineASize) {
  for (const int workers : {2, 3}) {
    SCOPED_TRACE(workers);
    ExpectCollectives(LastLine(RunProgram(Quick("comm", {"--workers", std::to_string(workers)}))),
                      workers);
  }
}

TEST_F(BenchTest, ProcessesOfMpi) {
  if (!HasMpi()) GTEST_SKIP() << "no mpirun";
  const ProgramResult comm = RunRanks(2, Quick("comm"));
  ASSERT_EQ(comm.status, 0) << comm.errors;
  ExpectCollectives(json::parse(comm.output.substr(comm.output.rfind("\n{") + 1)), 2);
  const ProgramResult step = RunRanks(2, Quick("step", {"--model", "mlp"}));
  EXPECT_EQ(step.status, 0) << step.errors;
  EXPECT_EQ(step.output.find("images/s"), step.output.rfind("images/s"))
      << "more than rank 0 spoke";
  for (const Arguments& wrong : {Quick("kernels"), Quick("comm", {"--workers", "2"})}) {
    const ProgramResult result = RunRanks(2, wrong);
    EXPECT_EQ(result.status, 2) << result.errors;
  }
  const ProgramResult differing =
      Program(MpiCommand({{1, Quick("comm")}, {1, Quick("comm", {"--server", "central"})}})).Wait();
  EXPECT_EQ(differing.status, 2) << differing.errors;
  EXPECT_NE(differing.errors.find("server"), std::string::npos) << differing.errors;
}

TEST_F(BenchTest, WrongUsage) {
  const auto expect = [&](const Arguments& arguments, const Arguments& mentioned) {
    ExpectFailure(RunProgram(arguments), 2, mentioned);
  };
  expect({"bench"}, {"what to measure", "kernels, step or comm"});
  expect({"bench", "kernel"}, {"'kernel'", "did you mean kernels?"});
  expect({"bench", "kernels", "step"}, {"'step'"});
  expect({"bench", "step", "--epochs", "3"}, {"--epochs", "belongs to thinwire train"});
  expect({"bench", "step", "--second", "3"}, {"--second", "did you mean --seconds?"});
  expect({"bench", "step", "--seconds"}, {"--seconds has no value"});
  expect({"bench", "step", "--quick", "--model", "resnet21"}, {"resnet21", "resnet20"});
  expect(Quick("step", {"--opt", "onebit-adam"}), {"freeze-steps"});
  expect(Quick("step", {"--model", "logreg"}), {"logreg"});
  expect(Quick("step", {"--batch-size", "full"}), {"--batch-size"});
  expect(Quick("kernels", {"--workers", "2"}), {"one device"});
  expect(Quick("comm"), {"one alone", "--workers"});
  expect({"train", "--quick"}, {"--quick"});
}

TEST(BenchSecondsTest, OnlyPositiveNumbers) {
  EXPECT_EQ(ParseBenchSeconds("0.25"), 0.25);
  EXPECT_EQ(ParseBenchSeconds("3600"), 3600);
  for (const char* bad : {"", "0", "-1", "nan", "inf", "1s", "3601", " 1"}) {
    EXPECT_THROW(ParseBenchSeconds(bad), Error) << bad;
  }
}

TEST(TimingTest, MedianOfAnyOrder) {
  EXPECT_EQ(Median({3}), 3);
  EXPECT_EQ(Median({5, 1, 3}), 3);
  EXPECT_EQ(Median({9, 1, 5, 3}), 5) << "of an even number the larger of the middle two";
}

TEST(TimingTest, WorksTakeTurns) {
  const auto device = MakeCpuDevice(1);
  std::string calls;
  const std::function<void()> works[] = {[&] { calls += 'a'; }, [&] { calls += 'b'; }};
  const std::vector<double> seconds =
      MedianSeconds(*device, works, {.seconds = 0, .repetitions = 3});
  EXPECT_EQ(calls, "aabbababab");  // each once to warm up and once to see how long it takes
  ASSERT_EQ(seconds.size(), 2u);
  for (const double each : seconds) EXPECT_GT(each, 0);
}

}  // namespace
}  // namespace thinwire
