// What a profiler sees of a run: steps, phases, layers and kernels, and when to record.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "kernels/device.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

/// A range and those within it.
struct Range {
  std::string category, colour, name;
  int64_t number = 0;
  bool recorded = false;  // between the profiler's start and stop
  std::vector<Range> within;

  /// The ranges within of a category, in order.
  std::vector<Range> Of(const std::string& wanted) const {
    std::vector<Range> found;
    for (const Range& range : within) {
      if (range.category == wanted) found.push_back(range);
    }
    return found;
  }
  const Range& At(const std::string& wanted) const {
    for (const Range& range : within) {
      if (range.name == wanted) return range;
    }
    throw std::runtime_error("there is no " + wanted + " in " + name);
  }
};

std::vector<std::string> Names(const std::vector<Range>& ranges) {
  std::vector<std::string> names;
  for (const Range& range : ranges) names.push_back(range.name);
  return names;
}

struct Trace {
  std::map<std::string, Range> threads;  // a root each
  std::vector<Range> ranges;             // all, without what is within
  int starts = 0, stops = 0;
};

/// Reads what tests/nvtx_recorder.cpp wrote, and checks that every range ends.
Trace ReadTrace(const std::string& path) {
  Trace trace;
  std::map<std::string, std::vector<Range>> open;
  std::istringstream lines(ReadText(path));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string event, thread;
    std::getline(fields, event, '\t');
    std::getline(fields, thread, '\t');
    trace.starts += event == "start";
    trace.stops += event == "stop";
    if (event == "push") {
      Range range;
      std::string number;
      for (std::string* field : {&range.category, &range.colour, &number, &range.name}) {
        std::getline(fields, *field, '\t');
      }
      range.number = std::stoll(number);
      range.recorded = trace.starts > trace.stops;
      trace.ranges.push_back(range);
      open[thread].push_back(range);
    } else if (event == "pop") {
      std::vector<Range>& stack = open[thread];
      if (stack.empty()) {
        ADD_FAILURE() << "more pops than pushes";
        break;
      }
      const Range ended = std::move(stack.back());
      stack.pop_back();
      (stack.empty() ? trace.threads[thread] : stack.back()).within.push_back(ended);
    }
  }
  for (const auto& [thread, stack] : open) {
    EXPECT_TRUE(stack.empty()) << "thread " << thread << " left " << Names(stack).back() << " open";
  }
  return trace;
}

/// A range may hold only what is finer.
void ExpectFiner(const Range& range) {
  static const std::map<std::string, std::set<std::string>> kFiner = {
      {"step", {"phase", "kernel"}}, {"phase", {"layer", "kernel"}}, {"layer", {"kernel"}}};
  for (const Range& inner : range.within) {
    const auto finer = kFiner.find(range.category);
    EXPECT_TRUE(finer != kFiner.end() && finer->second.contains(inner.category))
        << range.category << " " << range.name << " holds " << inner.category << " " << inner.name;
    ExpectFiner(inner);
  }
}

class CudaTraceTest : public RunTest {
 protected:
  /// The trace of three steps.
  Trace Run(const std::string& device, const std::string& model, const Arguments& more) {
    const std::string file = folder_ / "trace", recorder = THINWIRE_NVTX_RECORDER;
    Program::Command command{{"env", "THINWIRE_TRACE_FILE=" + file, "LD_PRELOAD=" + recorder,
                              "NVTX_INJECTION64_PATH=" + recorder, THINWIRE_BINARY}};
    const Arguments run =
        TinyRun(folder_ / "run", {"--model", model, "--device", device, "--batch-size", "2",
                                  "--shapes-count", "16", "--shapes-test-count", "2", "--max-steps",
                                  "3", "--eval-interval", "0", "--sched", "constant"});
    for (const Arguments& part : {run, more}) {
      command.words.insert(command.words.end(), part.begin(), part.end());
    }
    const ProgramResult result = Program(command).Wait();
    EXPECT_EQ(result.status, 0) << result.errors;
    return ReadTrace(file);
  }

  /// The first column of the model's table, without layers that do nothing.
  static std::vector<std::string> LayersOf(const std::string& model) {
    const ProgramResult info = RunProgram({"info", model});
    std::istringstream lines(info.output);
    std::vector<std::string> layers;
    std::string line;
    std::getline(lines, line);  // the header
    while (std::getline(lines, line) && !line.empty()) {
      std::istringstream columns(line);
      std::string name, kind;
      columns >> name >> kind;
      if (kind != "flatten") layers.push_back(name);
    }
    return layers;
  }

  static void ExpectLayersInOrder(const Range& step, const std::string& model) {
    std::vector<std::string> layers = LayersOf(model);
    ASSERT_GT(layers.size(), 2u);
    EXPECT_EQ(Names(step.At("forward").Of("layer")), layers);
    std::reverse(layers.begin(), layers.end());
    EXPECT_EQ(Names(step.At("backward").Of("layer")), layers);
  }
};

TEST_F(CudaTraceTest, StepHoldsPhasesThatHoldLayersThatHoldKernels) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  const Trace trace = Run("cuda", "resnet20", {"--opt", "ef21-bc", "--profile", "2:1"});
  ASSERT_EQ(trace.threads.size(), 1u);
  const Range& root = trace.threads.begin()->second;
  const std::vector<Range> steps = root.Of("step");
  ASSERT_EQ(steps.size(), 3u);
  for (size_t i = 0; i < steps.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_EQ(steps[i].name, "step");
    EXPECT_EQ(steps[i].number, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(steps[i].recorded, i == 1);
    ExpectFiner(steps[i]);
    ExpectLayersInOrder(steps[i], "resnet20");
    std::vector<std::string> phases = Names(steps[i].Of("phase"));
    ASSERT_GT(phases.size(), 4u);
    EXPECT_EQ((std::vector<std::string>(phases.begin(), phases.begin() + 3)),
              (std::vector<std::string>{"data", "forward", "backward"}));
    // The first step does not know yet whether its update will wait for the GPU in any case.
    if (i == 0) {
      EXPECT_EQ(phases[3], "read loss");
      std::rotate(phases.begin() + 3, phases.begin() + 4, phases.end());
    }
    EXPECT_EQ(phases.back(), "read loss");
    // The next batch is sent before the host waits for this one's loss.
    if (i + 1 < steps.size()) {
      EXPECT_EQ(phases[phases.size() - 2], "data ahead");
      phases.erase(phases.end() - 2);
    }
    // Up and down, each is compressed and decoded, maybe in several passes; one GPU sends nothing.
    phases.erase(phases.begin(), phases.begin() + 3);
    phases.pop_back();
    phases.erase(std::unique(phases.begin(), phases.end()), phases.end());
    EXPECT_EQ(phases,
              (std::vector<std::string>{"compress", "decode", "compress", "decode", "update"}));
  }
  EXPECT_EQ(trace.starts, 1);
  EXPECT_EQ(trace.stops, 1);
  const Range &forward = steps[1].At("forward"), &backward = steps[1].At("backward");
  EXPECT_EQ(Names(forward.At("conv1").within), std::vector<std::string>{"convolution_forward"});
  EXPECT_EQ(Names(forward.At("bn1").within),
            (std::vector<std::string>{"batch_norm_moments", "batch_norm_normalise"}));
  EXPECT_EQ(Names(backward.At("conv1").within), std::vector<std::string>{"convolution_weights"});
  EXPECT_EQ(Names(forward.Of("kernel")), std::vector<std::string>{"loss"});
  EXPECT_FALSE(steps[1].At("update").Of("kernel").empty());

  std::map<std::string, std::set<std::string>> colours;
  std::set<std::string> all;
  for (const Range& range : trace.ranges) {
    colours[range.category].insert(range.colour);
    all.insert(range.colour);
  }
  ASSERT_EQ(colours.size(), 4u);
  for (const auto& [category, of_category] : colours) EXPECT_EQ(of_category.size(), 1u) << category;
  EXPECT_EQ(all.size(), 4u);
}

// Recording is the process's, and its first rank's business.
TEST_F(CudaTraceTest, EachRankHasRangesOfItsOwn) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  const Trace trace =
      Run("cuda", "mlp", {"--opt", "cd-adam", "--workers", "2", "--profile", "3:100"});
  EXPECT_EQ(trace.threads.size(), 2u);
  for (const auto& [thread, root] : trace.threads) {
    const std::vector<Range> steps = root.Of("step");
    ASSERT_EQ(steps.size(), 3u);
    for (const Range& step : steps) {
      ExpectFiner(step);
      ExpectLayersInOrder(step, "mlp");
    }
  }
  EXPECT_EQ(trace.starts, 1);
  EXPECT_EQ(trace.stops, 0) << "the run ends before the last of the steps";
}

// The mean of the last layers' gradients is enqueued before the first layers' backward pass.
TEST_F(CudaTraceTest, AveragesGradientsBesideTheBackwardPass) {
  if (CudaDeviceCount() < 2) GTEST_SKIP() << "fewer than 2 GPUs: " << kNoGpu;
  const auto is_average = [](const Range& range) { return range.name == "sum_parts"; };
  for (const bool beside : {true, false}) {
    const Trace trace = Run(
        "cuda", "lenet", {"--opt", "sgd", "--gpus", "0,1", "--bucket-mib", beside ? "0.05" : "0"});
    fs::remove_all(folder_ / "run");
    EXPECT_EQ(trace.threads.size(), 2u);
    for (const auto& [thread, root] : trace.threads) {
      for (const Range& step : root.Of("step")) {
        ExpectLayersInOrder(step, "lenet");
        const std::vector<Range>& within = step.At("backward").within;
        const auto first = std::find_if(within.begin(), within.end(), is_average);
        EXPECT_EQ(first != within.end(), beside);
        const auto later = std::count_if(
            first, within.end(), [](const Range& range) { return range.category == "layer"; });
        if (beside) {
          EXPECT_GE(later, 3) << "the first layers' backward passes";
        }
      }
    }
  }
}

// So that the host makes and copies a batch while the GPU computes the one before.
TEST_F(CudaTraceTest, EvaluationBringsTheNextBatchBeforeItWaits) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  const Trace trace = Run("cuda", "mlp",
                          {"--opt", "sgd", "--epochs", "1", "--shapes-count", "6",
                           "--shapes-test-count", "5", "--eval-interval", "1"});
  ASSERT_EQ(trace.threads.size(), 1u);
  EXPECT_EQ(Names(trace.threads.begin()->second.Of("phase")),
            (std::vector<std::string>{"data", "forward", "data ahead", "read loss",  //
                                      "data", "forward", "data ahead", "read loss",  //
                                      "data", "forward", "read loss"}));
}

// Of an accumulated step, too, the host waits at the end alone.
TEST_F(CudaTraceTest, AnAccumulatedStepReadsItsLossesAtItsEnd) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  const Trace trace = Run("cuda", "mlp", {"--opt", "sgd", "--grad-accum-steps", "2"});
  ASSERT_EQ(trace.threads.size(), 1u);
  const std::vector<Range> steps = trace.threads.begin()->second.Of("step");
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(Names(steps[1].Of("phase")),
            (std::vector<std::string>{"data", "forward", "backward", "data ahead",  //
                                      "data", "forward", "backward", "update", "data ahead",
                                      "read loss"}));
}

// The CPU's kernels show in other profilers.
TEST_F(CudaTraceTest, OnTheCpuThereAreTheSameRangesButForKernels) {
  const Trace trace = Run("cpu", "mlp", {"--opt", "ef21", "--profile", "1:2"});
  ASSERT_EQ(trace.threads.size(), 1u);
  const std::vector<Range> steps = trace.threads.begin()->second.Of("step");
  ASSERT_EQ(steps.size(), 3u);
  for (const Range& step : steps) {
    ExpectFiner(step);
    ExpectLayersInOrder(step, "mlp");
    for (const char* phase : {"compress", "wire", "decode", "update"}) step.At(phase);
  }
  for (const Range& range : trace.ranges) EXPECT_NE(range.category, "kernel") << range.name;
  EXPECT_EQ(trace.starts, 0);
}

}  // namespace
}  // namespace thinwire
