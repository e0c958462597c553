// Plans that are tried and kept: which one is taken.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "kernels/cuda/plan_tuner.h"
#include "kernels/memory_use.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class CudaPlanTunerTest : public ::testing::Test {
 protected:
  CudaPlanTunerTest() {
    std::string name = fs::temp_directory_path() / "plan_tuner_test.XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~CudaPlanTunerTest() override { fs::remove_all(folder_); }
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
    device_ = MakeCudaDevice(0);
    memory_ = device_->Allocate(int64_t{16} << 20);
  }

  /// Four plans: one that cannot be built, a slow one, a fast one, and a slow one again. `choice`
  /// is the number of the one that a tuner takes, which forgets everything but the file.
  std::optional<size_t> Choose(const std::string& what = "work", const std::string& gpu = "GPU") {
    built_.clear();
    tried_.clear();
    cuda::PlanProposals proposals{
        .names = {"broken", "slow", "fast", "slower"},
        .build =
            [this](size_t i) {
              built_.insert(i);
              return i > 0;
            },
        .run =
            [this](size_t i) {
              tried_.insert(i);
              if (too_large_.contains(i)) throw OutOfMemory(OutOfMemory::Facts{});
              for (size_t fills = 0; fills < (i == 2 ? 1u : 10 * i); ++fills) {
                device_->Zero(i == 2 ? memory_.view().Slice(0, 1) : memory_.view());
              }
            }};
    cuda::PlanTuner tuner(*device_, cuda::QueueOf(*device_), gpu, folder_ / "plans");
    return tuner.Choose(what, proposals);
  }
  void Store(const std::string& choice) const {
    PlanCache(folder_ / "plans")
        .Choose(
            "GPU, work", [](const std::string&) { return false; }, [&] { return choice; });
  }

  using Numbers = std::set<size_t>;
  fs::path folder_;
  std::unique_ptr<Device> device_;
  Buffer memory_;
  Numbers built_, tried_, too_large_;
};

TEST_F(CudaPlanTunerTest, TakesTheFastestThatCanBeBuiltAndKeepsIt) {
  EXPECT_EQ(Choose(), 2u);
  EXPECT_EQ(tried_, (Numbers{1, 2, 3}));
  EXPECT_EQ(Choose(), 2u);
  EXPECT_EQ(tried_, Numbers());
  EXPECT_EQ(built_, Numbers{2});
  EXPECT_EQ(Choose("other work"), 2u);
  EXPECT_EQ(tried_, (Numbers{1, 2, 3}));
  EXPECT_EQ(Choose("work", "other GPU"), 2u);
  EXPECT_EQ(tried_, (Numbers{1, 2, 3}));
}

TEST_F(CudaPlanTunerTest, TakesTheStoredChoiceWhateverItIs) {
  Store("slow");
  EXPECT_EQ(Choose(), 1u);
  EXPECT_EQ(tried_, Numbers());
}

TEST_F(CudaPlanTunerTest, TriesAnewIfTheStoredChoiceIsNoneAnyMore) {
  for (const char* choice : {"of another day", "broken"}) {
    Store(choice);
    EXPECT_EQ(Choose(), 2u) << choice;
    EXPECT_EQ(tried_, (Numbers{1, 2, 3})) << choice;
    EXPECT_EQ(Choose(), 2u);
    EXPECT_EQ(tried_, Numbers());
  }
}

TEST_F(CudaPlanTunerTest, LeavesOutWhatDoesNotFitMemory) {
  too_large_ = {1, 2, 3};
  EXPECT_EQ(Choose(), std::nullopt);
  too_large_ = {2};
  EXPECT_EQ(Choose(), 1u);
  EXPECT_EQ(tried_, (Numbers{1, 2, 3}));
}

/// Results of a convolution's three directions and a linear layer's forward pass.
std::vector<float> Compute(Device& device) {
  const ConvolutionShape shape{.batch = 2,
                               .height = 6,
                               .width = 6,
                               .in_channels = 4,
                               .out_channels = 8,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .padding_height = 1,
                               .padding_width = 1};
  const TestBuffer<float> x(device, RandomNormal(shape.input_size(), 1)),
      filter(device, RandomNormal(shape.filter_size(), 2)),
      y_gradient(device, RandomNormal(shape.output_size(), 3)), y(device, shape.output_size()),
      x_gradient(device, shape.input_size()), filter_gradient(device, shape.filter_size());
  const auto convolution = device.MakeConvolution(shape);
  convolution->Forward(x, filter, {}, y);
  convolution->BackwardData(y_gradient, filter, x_gradient);
  convolution->BackwardWeights(x, y_gradient, filter_gradient, {});
  const auto linear =
      device.MakeLinear({.batch = 2, .in_features = 144, .out_features = 8, .bias = true});
  const TestBuffer<float> weight(device, RandomNormal(144 * 8, 4)),
      bias(device, RandomNormal(8, 5)), logits(device, 16);
  linear->Forward(x, weight, bias, logits);
  std::vector<float> all;
  for (const TestBuffer<float>* buffer : {&y, &x_gradient, &filter_gradient, &logits}) {
    const std::vector<float> values = buffer->Read();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Trying plans leaves no trace in what the chosen ones compute.
TEST_F(CudaPlanTunerTest, TunedDevicesComputeTheSameUpToRounding) {
  const GpuOptions options{.autotune = true, .plan_cache = folder_ / "plans"};
  const std::vector<float> plain = Compute(*device_);
  const std::vector<float> tuned = Compute(*MakeCudaDevice(0, options));
  ASSERT_EQ(tuned.size(), plain.size());
  // Sums of at most 144 products of normal numbers.
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(tuned[i], plain[i], 1e-4);
  EXPECT_EQ(Compute(*MakeCudaDevice(0, options)), tuned);
}

}  // namespace
}  // namespace thinwire
