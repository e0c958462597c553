// Whole runs whose numbers become NaN or infinite on a GPU, in steps that are replayed: they end
// with one line that says where, and leave everything as it was before that step.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "datasets/batch_order.h"
#include "kernels/device.h"
#include "kernels/parameter_arena.h"
#include "layers/initialization.h"
#include "models/models.h"
#include "tests/device_test.h"
#include "tests/train/run_fixture.h"
#include "train/weights.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBatch = 2, kBatches = 24, kSide = 28;
constexpr uint64_t kSeed = 3;
/// Nearly the mean, so that next to nothing of it is left once it is normalised.
constexpr char kGrey = 33, kWhite = static_cast<char>(255);

/// Images are grey but for one, which makes a network overflow whose weights are as large as here.
/// The failure is that of one rank, the last one.
class CudaNonFiniteTest : public RunTest, public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
    if (CudaDeviceCount() < ranks()) GTEST_SKIP() << "needs " << ranks() << " GPUs";
  }
  static int ranks() { return GetParam(); }

  /// In idx files; the white image is in this batch of the last rank's.
  void WriteData(int64_t batch) const {
    const int64_t count = kBatch * kBatches * ranks();
    BatchOrder order(count, {.batch_size = kBatch,
                             .seed = kSeed,
                             .rank = static_cast<int64_t>(ranks()) - 1,
                             .ranks = ranks()});
    WriteSplit("train", count, order.Rows(0, batch)[1]);
    WriteSplit("t10k", kBatch, kBatch);
  }

  /// The model's weights: as they are drawn, or each tensor filled with a value. Of the last layer
  /// it is multiplied by the class, so that classes differ.
  void WriteWeights(const std::string& model, const std::map<std::string, float>& values) const {
    const LayerGraph graph =
        BuildModel(model, {.classes = 10, .height = kSide, .width = kSide, .channels = 1});
    const auto device = MakeCpuDevice(1);
    ParameterArena arena(*device, graph.tensor_specs());
    InitializeParameters(graph, arena, kSeed);
    for (const auto& [name, value] : values) {
      const View view = arena.value(name);
      std::fill_n(view.as<float>(), view.size, value);
      for (int64_t i = 0; name == "fc3.weight" && i < view.size; ++i) {
        view.as<float>()[i] *= static_cast<float>(i * 10 / view.size);
      }
    }
    SaveWeights(folder_ / "weights", arena);
  }

  Arguments Run(const std::string& name, const Arguments& more) const {
    // clang-format off
    Arguments all = {"train", "--model", "mlp", "--dataset", "mnist", "--data-dir", folder_ / "data",
                     "--weights", folder_ / "weights", "--batch-size", std::to_string(kBatch),
                     "--seed", std::to_string(kSeed), "--opt", "sgd", "--lr", "0.01",
                     "--weight-decay", "0", "--sched", "constant", "--eval-interval", "0", "--data-threads", "1",
                     "--checkpoint-interval", "1", "--checkpoint-hist", "100", "--log-interval", "1",
                     "--output", folder_ / name};
    // clang-format on
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  ProgramResult RunOnGpus(const std::string& name, const Arguments& more) const {
    Arguments all = {"--device",     "cuda", "--gpus", ranks() == 1 ? "0" : "0,1",
                     "--cuda-graph", "on"};
    all.insert(all.end(), more.begin(), more.end());
    return RunProgram(Run(name, all));
  }

  /// What a run says that fails at `step`, or `later` than that has been logged; its checkpoints
  /// are those of one that ends before.
  std::string ErrorAt(int64_t step, Arguments more, const Arguments& mentioned,
                      bool later = false) const {
    const ProgramResult result = RunOnGpus("run", more);
    ExpectFailure(result, 1, mentioned);
    more.insert(more.end(), {"--max-steps", std::to_string(step - 1)});
    const ProgramResult before = RunOnGpus("before", more);
    EXPECT_EQ(before.status, 0) << before.errors;
    auto steps = WithoutTimes(Steps(folder_ / "run"));
    EXPECT_EQ(std::ssize(steps), later ? step : step - 1);
    steps.resize(static_cast<size_t>(step) - 1);
    EXPECT_EQ(steps, WithoutTimes(Steps(folder_ / "before")));
    const auto files = Checkpoints("run");
    EXPECT_EQ(std::ssize(files), (step - 1) * (ranks() == 1 ? 1 : 1 + ranks()));
    for (const std::string& file : files) {
      EXPECT_TRUE(ReadText(folder_ / ("run/checkpoints/" + file)) ==
                  ReadText(folder_ / ("before/checkpoints/" + file)))
          << file;
    }
    return result.errors;
  }
  std::vector<std::string> Checkpoints(const std::string& run) const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(folder_ / (run + "/checkpoints"))) {
      files.push_back(entry.path().filename().string());
    }
    return files;
  }
  /// The same run's on the CPU, which reads the loss of each batch before it goes on.
  std::string ErrorOnCpu(const Arguments& more) const {
    Arguments all = {"--device", "cpu", "--workers", std::to_string(ranks()), "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return RunProgram(Run("cpu", all)).errors;
  }

  static std::vector<Arguments> Methods() {
    return {{"--opt", "sgd"},
            {"--opt", "cd-adam", "--lr", "0.001"},
            {"--opt", "cd-adam", "--lr", "0.001", "--scale-granularity", "tensor", "--bucket-mib",
             "0.1"},
            {"--opt", "ef21-bc", "--compressor", "topk", "--server", "central"},
            {"--opt", "ef21-bc", "--compressor", "topk"},
            {"--opt", "ef21", "--compressor", "randk"},
            {"--opt", "ef-sgdm", "--compressor", "topk", "--index-coding", "packed"},
            {"--opt", "saef-sgdm", "--compressor", "sign"},
            {"--opt", "signsgd-mv", "--lr", "0.001"}};
  }

  // Grey images leave all but the last biases as they are; of the white one the second layer's
  // outputs overflow, unless an update has made the first layer's weights NaN.
  void WriteOverflowingLoss(int64_t batch) const {
    WriteData(batch);
    WriteWeights("mlp", {{"fc1.weight", 1e30f}, {"fc2.weight", 1e5f}, {"fc3.weight", 1}});
  }

 private:
  void WriteSplit(const std::string& split, int64_t count, int64_t white) const {
    const auto number = [](int64_t value) {
      std::string bytes;
      for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(value >> shift);
      return bytes;
    };
    const std::string header("\0\0\x08", 3);
    std::string images = header + '\3' + number(count) + number(kSide) + number(kSide);
    std::string labels = header + '\1' + number(count);
    for (int64_t i = 0; i < count; ++i) {
      images += std::string(kSide * kSide, i == white ? kWhite : kGrey);
      labels += static_cast<char>(i == white ? 0 : i % 10);
    }
    fs::create_directories(folder_ / "data");
    WriteText(folder_ / ("data/" + split + "-images-idx3-ubyte"), images);
    WriteText(folder_ / ("data/" + split + "-labels-idx1-ubyte"), labels);
  }
};

TEST_P(CudaNonFiniteTest, ALossNamesTheLayer) {
  WriteOverflowingLoss(4);
  for (const Arguments& more : Methods()) {
    SCOPED_TRACE(::testing::PrintToString(more));
    const std::string error =
        ErrorAt(5, more, {"training step 5: the loss is nan", "that of layer fc2; "});
    EXPECT_EQ(error, ErrorOnCpu(more));
    for (const char* run : {"run", "before", "cpu"}) fs::remove_all(folder_ / run);
  }
}

// Of three batches a step, which are all trained on before a loss is read.
TEST_P(CudaNonFiniteTest, ALossOfAnyPartOfAStepNamesTheLayer) {
  for (const int64_t part : {0, 1, 2}) {
    WriteOverflowingLoss(4 * 3 + part);
    const Arguments more = {"--grad-accum-steps", "3"};
    const std::string error =
        ErrorAt(5, more, {"training step 5: the loss is nan", "that of layer fc2; "});
    EXPECT_EQ(error, ErrorOnCpu(more));
    for (const char* run : {"run", "before", "cpu"}) fs::remove_all(folder_ / run);
  }
}

// The white image's loss is finite, but on its way back a gradient overflows in the second layer.
TEST_P(CudaNonFiniteTest, AGradientNamesTheTensor) {
  WriteData(4);
  WriteWeights("mlp", {{"fc1.weight", 1e-30f},
                       {"fc1.bias", 0},
                       {"fc2.weight", 1e35f},
                       {"fc2.bias", 0},
                       {"fc3.weight", 1e4f},
                       {"fc3.bias", 0}});
  const std::string error =
      ErrorAt(5, {}, {"step 5", "the gradient of fc1.weight is NaN or infinite at element 0"});
  EXPECT_EQ(error, ErrorOnCpu({}));
}

// Batch norm makes good numbers of large ones, but their variance is too large for float32. It is
// looked for before it would be saved.
TEST_P(CudaNonFiniteTest, RunningStatisticsNameTheTensor) {
  WriteData(3);
  WriteWeights("resnet20", {{"conv1.weight", 2e19f}});
  ErrorAt(4, {"--model", "resnet20", "--lr", "1e-6"},
          {"step 4", "the running statistics bn1.running_var are NaN or infinite at element 0"},
          true);
}

INSTANTIATE_TEST_SUITE_P(All, CudaNonFiniteTest, ::testing::Values(1, 2),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace thinwire
