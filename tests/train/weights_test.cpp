#include "train/weights.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "models/models.h"
#include "tests/train/temporary_folder.h"
#include "train/safetensors.h"

namespace thinwire {
namespace {

template <typename T>
StoredTensor Store(const std::string& dtype, std::vector<int64_t> shape,
                   const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}

/// 0, 1, 2, … so that a value tells where it stood in the file.
StoredTensor Counting(std::vector<int64_t> shape, float first = 0) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  std::vector<float> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), first);
  return Store("F32", std::move(shape), values);
}

class WeightsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    device_ = MakeCpuDevice(1);
    arena_ = std::make_unique<ParameterArena>(
        *device_, std::vector<TensorSpec>{
                      {"conv1.weight", TensorRole::kConvolutionFilter, {2, 3, 1, 4}, {}},
                      {"bn1.weight", TensorRole::kBatchNormScale, {2}, {}},
                      {"bn1.bias", TensorRole::kBatchNormShift, {2}, {}},
                      {"bn1.running_mean", TensorRole::kRunningMean, {2}, {}},
                      {"bn1.running_var", TensorRole::kRunningVariance, {2}, {}},
                      {"layer.shortcut.0.weight", TensorRole::kConvolutionFilter, {1, 1, 1, 2}, {}},
                      {"hidden.weight", TensorRole::kLinearWeight, {2, 12}, {2, 3, 2}},
                      {"linear.weight", TensorRole::kLinearWeight, {3, 2}, {}},
                      {"linear.bias", TensorRole::kBias, {3}, {}}});
    // As PyTorch would write it.
    file_.tensors = {{"conv1.weight", Counting({2, 4, 3, 1})},
                     {"bn1.weight", Counting({2}, 100)},
                     {"bn1.bias", Counting({2}, 200)},
                     {"bn1.running_mean", Counting({2}, 300)},
                     {"bn1.running_var", Counting({2}, 400)},
                     {"bn1.num_batches_tracked", Store<int64_t>("I64", {}, {7})},
                     {"layer.shortcut.0.weight", Counting({1, 2, 1, 1}, 500)},
                     {"hidden.weight", Counting({2, 12}, 600)},
                     {"linear.weight", Counting({3, 2}, 700)},
                     {"linear.bias", Counting({3}, 800)}};
  }

  void Rename(const std::string& from, const std::string& to) {
    auto node = file_.tensors.extract(from);
    node.key() = to;
    file_.tensors.insert(std::move(node));
  }
  std::string Write() {
    WriteSafetensors(folder_ / "weights.safetensors", file_);
    return folder_ / "weights.safetensors";
  }
  void Load() { LoadWeights(Write(), *arena_); }
  std::vector<float> Read(View view) {
    std::vector<float> values(static_cast<size_t>(view.size));
    device_->CopyToHost(view, values.data());
    return values;
  }
  std::vector<float> Value(const std::string& name) { return Read(arena_->value(name)); }
  /// Fills the arena with a mark, padding too.
  void Mark() {
    for (const View view : {arena_->values(), arena_->state()}) {
      device_->CopyFromHost(std::vector<float>(static_cast<size_t>(view.size), -1).data(), view);
    }
  }
  void ExpectUnchanged() {
    for (const View view : {arena_->values(), arena_->state()}) {
      EXPECT_EQ(Read(view), std::vector<float>(static_cast<size_t>(view.size), -1));
    }
  }

  TemporaryFolder folder_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<ParameterArena> arena_;
  SafetensorsFile file_;
};

TEST_F(WeightsTest, LayoutsAreConverted) {
  Load();
  // Filter KRSC [2, 3, 1, 4] from KCRS [2, 4, 3, 1]: element (k, r, 0, c) stood at 12 k + 3 c + r.
  EXPECT_EQ(Value("conv1.weight"),
            (std::vector<float>{0,  3,  6,  9,  1,  4,  7,  10, 2,  5,  8,  11,
                                12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23}));
  // Columns [h, w, c] of a 2 x 3 x 2 image from [c, h, w]: (h, w, c) stood at 6 c + 3 h + w.
  EXPECT_EQ(Value("hidden.weight"),
            (std::vector<float>{600, 606, 601, 607, 602, 608, 603, 609, 604, 610, 605, 611,
                                612, 618, 613, 619, 614, 620, 615, 621, 616, 622, 617, 623}));
  EXPECT_EQ(Value("linear.weight"), (std::vector<float>{700, 701, 702, 703, 704, 705}));
  EXPECT_EQ(Value("bn1.weight"), (std::vector<float>{100, 101}));
  EXPECT_EQ(Value("bn1.bias"), (std::vector<float>{200, 201}));
  EXPECT_EQ(Value("bn1.running_mean"), (std::vector<float>{300, 301}));
  EXPECT_EQ(Value("bn1.running_var"), (std::vector<float>{400, 401}));
  EXPECT_EQ(Value("layer.shortcut.0.weight"), (std::vector<float>{500, 501}));
}

TEST_F(WeightsTest, PaddingStaysZero) {
  Mark();
  Load();
  const std::vector<float> values = Read(arena_->values());
  std::vector<bool> used(values.size());
  for (const Segment& segment : arena_->segments()) {
    for (int64_t i = 0; i < segment.size; ++i) used[static_cast<size_t>(segment.offset + i)] = true;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_TRUE(used[i] || values[i] == 0.0f) << i;
  }
}

TEST_F(WeightsTest, SavingIsTheReverse) {
  Load();
  file_.metadata["format"] = "pt";
  SaveWeights(folder_ / "saved", *arena_, 7);
  const std::string path = Write();
  EXPECT_EQ(ReadText(folder_ / "saved"), ReadText(path));
  SaveWeights(folder_ / "again", *arena_, 7);
  EXPECT_EQ(ReadText(folder_ / "saved"), ReadText(folder_ / "again"));
}

TEST_F(WeightsTest, UsualOtherNames) {
  Rename("linear.weight", "fc.weight");
  Rename("linear.bias", "fc.bias");
  Rename("layer.shortcut.0.weight", "layer.downsample.0.weight");
  for (const char* name :
       {"conv1.weight", "bn1.weight", "fc.weight", "layer.downsample.0.weight"}) {
    Rename(name, std::string("_orig_mod.module.") + name);
  }
  file_.tensors.erase("bn1.num_batches_tracked");
  Load();
  EXPECT_EQ(Value("linear.weight")[0], 700);
  EXPECT_EQ(Value("linear.bias")[0], 800);
  EXPECT_EQ(Value("layer.shortcut.0.weight")[0], 500);
  EXPECT_EQ(Value("conv1.weight")[1], 3);

  Rename("fc.bias", "classifier.bias");
  Load();
}

TEST_F(WeightsTest, AmbiguousNamesAreRefused) {
  file_.tensors["fc.bias"] = Counting({3});
  EXPECT_ERROR(Load(), "1 tensor is unexpected (fc.bias)");
  Rename("linear.bias", "classifier.bias");
  EXPECT_ERROR(Load(), "1 tensor is missing (linear.bias)");
  Rename("classifier.bias", "linear.bias");
  Rename("fc.bias", "module.linear.bias");
  EXPECT_ERROR(Load(), "1 tensor is there twice, with and without a prefix (linear.bias)");
}

TEST_F(WeightsTest, AllFloatingPointTypes) {
  file_.tensors["linear.bias"] = Store<double>("F64", {3}, {0.5, -1e300, 1.0 / 3});
  // One, the least subnormal, minus infinity; largest normal, a quarter, NaN.
  file_.tensors["linear.weight"] =
      Store<uint16_t>("F16", {3, 2}, {0x3C00, 0x0001, 0xFC00, 0x7BFF, 0x3400, 0x7E00});
  file_.tensors["bn1.weight"] = Store<uint16_t>("BF16", {2}, {0x3F80, 0xC049});
  Load();
  EXPECT_EQ(Value("linear.bias"), (std::vector<float>{0.5f, -INFINITY, 1.0f / 3}));
  const std::vector<float> weight = Value("linear.weight");
  EXPECT_EQ(weight[0], 1.0f);
  EXPECT_EQ(weight[1], 0x1p-24f);
  EXPECT_EQ(weight[2], -INFINITY);
  EXPECT_EQ(weight[3], 65504.0f);
  EXPECT_EQ(weight[4], 0.25f);
  EXPECT_TRUE(std::isnan(weight[5]));
  EXPECT_EQ(Value("bn1.weight"), (std::vector<float>{1.0f, -3.140625f}));
}

TEST_F(WeightsTest, NothingChangesUnlessAllFits) {
  Mark();
  file_.tensors.erase("bn1.bias");
  file_.tensors["extra"] = Counting({1});
  file_.tensors["linear.bias"] = Counting({5});
  file_.tensors["bn1.weight"] = Store<int32_t>("I32", {2}, {1, 2});
  const std::string path = Write();
  EXPECT_ERROR(LoadWeights(path, *arena_), "cannot load weights from " + path);
  EXPECT_ERROR(LoadWeights(path, *arena_), "1 tensor is missing (bn1.bias)");
  EXPECT_ERROR(LoadWeights(path, *arena_), "1 tensor is unexpected (extra)");
  EXPECT_ERROR(LoadWeights(path, *arena_),
               "misshapen (linear.bias: [5] in the file, [3] in the model)");
  EXPECT_ERROR(LoadWeights(path, *arena_), "not of a floating-point type (bn1.weight: I32)");
  EXPECT_ERROR(LoadWeights(path, *arena_), "number of classes");
  ExpectUnchanged();
}

TEST_F(WeightsTest, LongListsAreCut) {
  file_.tensors.clear();
  EXPECT_ERROR(Load(), "9 tensors are missing (conv1.weight; layer.shortcut.0.weight; ");
  EXPECT_ERROR(Load(), "; …)");
}

TEST_F(WeightsTest, AFilterOfOurLayoutIsMisshapen) {
  file_.tensors["conv1.weight"] = Counting({2, 3, 1, 4});
  EXPECT_ERROR(Load(), "conv1.weight: [2, 3, 1, 4] in the file, [2, 4, 3, 1] in the model");
}

TEST(Weights, APublishedModelLoads) {
  const char* data = std::getenv("THINWIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "THINWIRE_TEST_DATA names no folder of test data";
  const std::string path = std::string(data) + "/weights/resnet20-cifar10.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const std::unique_ptr<Device> device = MakeCpuDevice(1);
  ParameterArena arena(*device, BuildModel("resnet20", {}).tensor_specs());
  LoadWeights(path, arena);

  const TemporaryFolder folder;
  SaveWeights(folder / "saved", arena);
  const SafetensorsFile published = ReadSafetensors(path);
  const SafetensorsFile saved = ReadSafetensors(folder / "saved");
  for (const auto& [name, tensor] : published.tensors) {
    ASSERT_TRUE(saved.tensors.contains(name)) << name;
    EXPECT_EQ(saved.tensors.at(name).shape, tensor.shape) << name;
    EXPECT_EQ(saved.tensors.at(name).bytes, tensor.bytes) << name;
  }
  EXPECT_EQ(saved.tensors.size(), published.tensors.size() + 19);  // num_batches_tracked
}

}  // namespace
}  // namespace thinwire
