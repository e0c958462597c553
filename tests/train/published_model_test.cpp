// A ResNet-20 that others trained (with PyTorch) gives their logits here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/batch_pipeline.h"
#include "models/models.h"
#include "tests/train/program.h"
#include "train/batch_upload.h"
#include "train/weights.h"

namespace thinwire {
namespace {

class PublishedModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("THINWIRE_TEST_DATA");
    if (folder == nullptr || !std::filesystem::exists(std::string(folder) + "/weights")) {
      GTEST_SKIP() << "THINWIRE_TEST_DATA names no folder with weights/ and cifar10/";
    }
    folder_ = folder;
  }

  int64_t CountCorrect(const std::string& test_file) {
    const ProgramResult result =
        RunProgram({"eval", "--model", "resnet20", "--weights",
                    folder_ + "/weights/resnet20-cifar10.safetensors", "--dataset", "cifar10",
                    "--data-dir", folder_ + "/cifar10", "--test-files", test_file, "--mean",
                    "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--json"});
    EXPECT_EQ(result.status, 0) << result.errors;
    const size_t at = result.output.rfind("\"correct\": ");
    return at == std::string::npos ? -1 : std::stoll(result.output.substr(at + 11));
  }

  std::string folder_;
};

TEST_F(PublishedModelTest, CountsWhatItsAuthorsCount) {
  EXPECT_EQ(CountCorrect("test_1.bin"), 922);
  EXPECT_EQ(CountCorrect("test_2.bin"), 6410);
}

TEST_F(PublishedModelTest, LogitsAgree) {
  constexpr int64_t kImages = 1000, kClasses = 10;
  // The .npy file's header ends in a newline; the float32 numbers are what lies behind it.
  const std::string file = ReadText(folder_ + "/weights/resnet20-logits-test_1.npy");
  ASSERT_GT(file.size(), kImages * kClasses * sizeof(float));
  std::vector<float> expected(kImages * kClasses);
  const size_t bytes = expected.size() * sizeof(float);
  std::memcpy(expected.data(), file.data() + file.size() - bytes, bytes);

  const auto device = MakeCpuDevice();
  const LayerGraph graph = BuildModel("resnet20", {});
  ParameterArena arena(*device, graph.tensor_specs());
  LoadWeights(folder_ + "/weights/resnet20-cifar10.safetensors", arena);
  DatasetOptions options;
  options.name = "cifar10";
  options.data_dir = folder_ + "/cifar10";
  options.files = {"test_1.bin"};
  const Dataset images = LoadDataset(options, Split::kTest);
  ASSERT_EQ(images.count, kImages);
  constexpr int64_t kBatch = 125;
  Network network(graph, arena, {.batch_size = kBatch, .training = false});
  BatchPipeline pipeline(images,
                         {.batch_size = kBatch,
                          .shuffle = false,
                          .normalization = {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}});
  float largest = 0;
  for (int64_t first = 0; first < kImages; first += kBatch) {
    BatchUpload(*device, pipeline)(pipeline.Next(), network);
    network.Infer();
    std::vector<float> logits(kBatch * kClasses);
    device->CopyToHost(network.logits(), logits.data());
    for (size_t i = 0; i < logits.size(); ++i) {
      largest = std::max(largest, std::abs(logits[i] - expected[first * kClasses + i]));
    }
  }
  // Another order of summation over 20 layers moves logits of up to 30 by a few 1e-5.
  EXPECT_LT(largest, 2e-3f);
  RecordProperty("largest_difference", std::to_string(largest));
}

}  // namespace
}  // namespace thinwire
