// The real files, from the folder that the environment variable THINWIRE_TEST_DATA names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "datasets/dataset.h"
#include "datasets/libsvm.h"

namespace thinwire {
namespace {

std::vector<int64_t> Histogram(const Dataset& dataset) {
  std::vector<int64_t> counts(static_cast<size_t>(dataset.classes));
  for (const int32_t label : dataset.labels) ++counts.at(static_cast<size_t>(label));
  return counts;
}

/// That the usual mean and deviation are those of `dataset` up to its being a sample of the whole.
void ExpectUsualNormalization(const Dataset& dataset) {
  const Normalization usual = DefaultNormalization(dataset.name);
  const auto pixels = static_cast<double>(dataset.count * dataset.height * dataset.width);
  for (int64_t c = 0; c < dataset.channels; ++c) {
    double sum = 0, squares = 0;
    for (int64_t i = c; i < std::ssize(dataset.images); i += dataset.channels) {
      const double value = dataset.images[static_cast<size_t>(i)] / 255.0;
      sum += value;
      squares += value * value;
    }
    // Pixels of one image go together, so there are only `count` independent values, of a
    // deviation of at most the pixels'.
    const double tolerance =
        5 * usual.deviation[static_cast<size_t>(c)] / std::sqrt(static_cast<double>(dataset.count));
    const double mean = sum / pixels;
    EXPECT_NEAR(mean, usual.mean[static_cast<size_t>(c)], tolerance);
    EXPECT_NEAR(std::sqrt(squares / pixels - mean * mean), usual.deviation[static_cast<size_t>(c)],
                tolerance);
  }
}

class RealData : public ::testing::Test {
 protected:
  /// Sets folder_, or skips the test.
  void Find(const std::string& name) {
    const char* root = std::getenv("THINWIRE_TEST_DATA");
    if (root == nullptr) GTEST_SKIP() << "THINWIRE_TEST_DATA does not name a folder of data sets";
    folder_ = (std::filesystem::path(root) / name).string();
    if (!std::filesystem::is_directory(folder_)) GTEST_SKIP() << "there is no folder " << folder_;
  }
  std::string folder_;
};

class RealMnist : public RealData {
  void SetUp() override { Find("mnist"); }
};
class RealCifar10 : public RealData {
  void SetUp() override { Find("cifar10"); }
};
class RealCifar100 : public RealData {
  void SetUp() override { Find("cifar100"); }
};

class RealLibsvm : public RealData {
  void SetUp() override { Find("libsvm"); }
};

TEST_F(RealLibsvm, IsWhole) {
  const SparseDataset phishing = LoadLibsvm(folder_, {"phishing"});
  EXPECT_EQ(phishing.rows, 11'055);
  EXPECT_EQ(phishing.features, 68);
  EXPECT_EQ(std::ssize(phishing.values), 331'650);
  EXPECT_EQ(std::count(phishing.labels.begin(), phishing.labels.end(), 1), 6157);
  for (const double value : phishing.values) ASSERT_EQ(value, 0.18257);
  const SparseDataset train = LoadLibsvm(folder_, {"a9a"});
  EXPECT_EQ(train.rows, 32'561);
  EXPECT_EQ(train.features, 123);
  EXPECT_EQ(train.label_values, (std::vector<double>{-1, 1}));
  EXPECT_EQ(LoadLibsvm(folder_, {"a9a.t"}).features, 122);
  const SparseDataset test = LoadLibsvm(
      folder_, {"a9a.t"}, {.min_features = train.features, .label_values = train.label_values});
  EXPECT_EQ(test.rows, 16'281);
  EXPECT_EQ(test.features, 123);
}

TEST_F(RealMnist, IsWhole) {
  const DatasetOptions options{.name = "mnist", .data_dir = folder_};
  const Dataset train = LoadDataset(options, Split::kTrain);
  EXPECT_EQ(train.count, 60'000);
  EXPECT_EQ(train.image_bytes(), 28 * 28);
  EXPECT_EQ(Histogram(train),
            (std::vector<int64_t>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
  ExpectUsualNormalization(train);
  const Dataset test = LoadDataset(options, Split::kTest);
  EXPECT_EQ(test.count, 10'000);
  EXPECT_EQ(Histogram(test),
            (std::vector<int64_t>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
}

TEST_F(RealCifar10, HasBalancedClasses) {
  const Dataset test =
      LoadDataset({.name = "cifar10", .data_dir = folder_, .files = {"test_1.bin"}}, Split::kTest);
  EXPECT_EQ(test.count, 1000);
  EXPECT_EQ(Histogram(test), std::vector<int64_t>(10, 100));
  ExpectUsualNormalization(LoadDataset(
      {.name = "cifar10", .data_dir = folder_, .files = {"train_1.bin"}}, Split::kTrain));
}

TEST_F(RealCifar100, HasBalancedClasses) {
  const Dataset test =
      LoadDataset({.name = "cifar100", .data_dir = folder_, .files = {"test_1.bin"}}, Split::kTest);
  EXPECT_EQ(test.count, 1000);
  EXPECT_EQ(Histogram(test), std::vector<int64_t>(100, 10));
  ExpectUsualNormalization(test);
}

}  // namespace
}  // namespace thinwire
