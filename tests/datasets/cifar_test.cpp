#include "datasets/cifar.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "datasets/dataset.h"
#include "tests/datasets/testing.h"

namespace thinwire {
namespace {

/// The byte of a record's pixel, different in each record, plane, row and column.
uint8_t Pixel(int64_t record, int64_t channel, int64_t y, int64_t x) {
  return static_cast<uint8_t>(37 * record + 101 * channel + 11 * y + 3 * x);
}

/// Records whose labels are `labels`, coarse labels 200 + record for CIFAR-100.
std::vector<uint8_t> Records(CifarKind kind, const std::vector<uint8_t>& labels) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (kind == CifarKind::kCifar100) bytes.push_back(static_cast<uint8_t>(200 + i));
    bytes.push_back(labels[i]);
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t y = 0; y < 32; ++y) {
        for (int64_t x = 0; x < 32; ++x) {
          bytes.push_back(Pixel(static_cast<int64_t>(i), c, y, x));
        }
      }
    }
  }
  return bytes;
}

void ExpectRecords(const Dataset& dataset, const std::vector<int32_t>& labels,
                   const std::vector<int64_t>& records) {
  ASSERT_EQ(dataset.count, std::ssize(labels));
  EXPECT_EQ(dataset.labels, labels);
  ASSERT_EQ(std::ssize(dataset.images), dataset.count * 32 * 32 * 3);
  for (int64_t i = 0; i < dataset.count; ++i) {
    for (int64_t y = 0; y < 32; ++y) {
      for (int64_t x = 0; x < 32; ++x) {
        for (int64_t c = 0; c < 3; ++c) {
          ASSERT_EQ(dataset.image(i)[(y * 32 + x) * 3 + c],
                    Pixel(records[static_cast<size_t>(i)], c, y, x))
              << "image " << i << " y " << y << " x " << x << " channel " << c;
        }
      }
    }
  }
}

TEST(Cifar, InterleavesPlanes) {
  Dataset dataset = EmptyCifar(CifarKind::kCifar10);
  ParseCifar(Records(CifarKind::kCifar10, {7, 0, 9}), "x.bin", CifarKind::kCifar10, dataset);
  EXPECT_EQ(dataset.name, "cifar10");
  EXPECT_EQ(dataset.classes, 10);
  ExpectRecords(dataset, {7, 0, 9}, {0, 1, 2});
}

TEST(Cifar, HundredClassesUseTheFineLabel) {
  Dataset dataset = EmptyCifar(CifarKind::kCifar100);
  ParseCifar(Records(CifarKind::kCifar100, {99, 0}), "x.bin", CifarKind::kCifar100, dataset);
  EXPECT_EQ(dataset.name, "cifar100");
  EXPECT_EQ(dataset.classes, 100);
  ExpectRecords(dataset, {99, 0}, {0, 1});
}

TEST(Cifar, AppendsFileToFile) {
  Dataset dataset = EmptyCifar(CifarKind::kCifar10);
  ParseCifar(Records(CifarKind::kCifar10, {1}), "a.bin", CifarKind::kCifar10, dataset);
  ParseCifar(Records(CifarKind::kCifar10, {2, 3}), "b.bin", CifarKind::kCifar10, dataset);
  ExpectRecords(dataset, {1, 2, 3}, {0, 0, 1});
}

TEST(Cifar, RefusesEveryOtherLength) {
  const std::vector<uint8_t> whole = Records(CifarKind::kCifar10, {1, 2});
  for (const size_t size : {size_t{0}, size_t{1}, size_t{3072}, size_t{3074}, whole.size() - 1}) {
    Dataset dataset = EmptyCifar(CifarKind::kCifar10);
    ExpectError(
        [&] { ParseCifar(std::span(whole).first(size), "cut.bin", CifarKind::kCifar10, dataset); },
        {"cut.bin", std::to_string(size) + " bytes", "3073"});
    EXPECT_EQ(dataset.count, 0);
    EXPECT_TRUE(dataset.images.empty());
  }
}

TEST(Cifar, GuessesWhyTheLengthIsWrong) {
  Dataset ten = EmptyCifar(CifarKind::kCifar10), hundred = EmptyCifar(CifarKind::kCifar100);
  ExpectError(
      [&] { ParseCifar(Records(CifarKind::kCifar100, {1}), "a", CifarKind::kCifar10, ten); },
      {"looks like a CIFAR-100 file", "--dataset"});
  ExpectError(
      [&] { ParseCifar(Records(CifarKind::kCifar10, {1}), "a", CifarKind::kCifar100, hundred); },
      {"looks like a CIFAR-10 file", "--dataset"});
  const std::vector<uint8_t> gzip = {0x1f, 0x8b, 8};
  ExpectError([&] { ParseCifar(gzip, "a.tar.gz", CifarKind::kCifar10, ten); },
              {"a.tar.gz", "tar -xzf"});
}

TEST(Cifar, NamesTheRecordOfABadLabelAndLeavesTheDataSetAsItWas) {
  Dataset dataset = EmptyCifar(CifarKind::kCifar10);
  ParseCifar(Records(CifarKind::kCifar10, {4}), "a.bin", CifarKind::kCifar10, dataset);
  ExpectError(
      [&] {
        ParseCifar(Records(CifarKind::kCifar10, {1, 2, 10}), "b.bin", CifarKind::kCifar10, dataset);
      },
      {"b.bin", "record 2", "label 10", "10 classes"});
  ExpectRecords(dataset, {4}, {0});

  Dataset hundred = EmptyCifar(CifarKind::kCifar100);
  ExpectError(
      [&] {
        ParseCifar(Records(CifarKind::kCifar100, {100}), "c.bin", CifarKind::kCifar100, hundred);
      },
      {"c.bin", "record 0", "label 100"});
}

class CifarFiles : public ::testing::Test {
 protected:
  Dataset Load(const std::string& name, Split split, std::vector<std::string> files = {}) const {
    return LoadDataset({.name = name, .data_dir = folder_.path(), .files = std::move(files)},
                       split);
  }
  TemporaryFolder folder_;
};

TEST_F(CifarFiles, HaveStandardNames) {
  for (int i = 1; i <= 5; ++i) {
    folder_.Write("data_batch_" + std::to_string(i) + ".bin",
                  Records(CifarKind::kCifar10, {static_cast<uint8_t>(i), 0}));
  }
  folder_.Write("cifar-10-batches-bin/test_batch.bin", Records(CifarKind::kCifar10, {8}));
  folder_.Write("cifar-100-binary/train.bin", Records(CifarKind::kCifar100, {55}));
  folder_.Write("test.bin", Records(CifarKind::kCifar100, {66, 77}));
  EXPECT_EQ(Load("cifar10", Split::kTrain).labels,
            (std::vector<int32_t>{1, 0, 2, 0, 3, 0, 4, 0, 5, 0}));
  EXPECT_EQ(Load("cifar10", Split::kTest).labels, (std::vector<int32_t>{8}));
  EXPECT_EQ(Load("cifar100", Split::kTrain).labels, (std::vector<int32_t>{55}));
  EXPECT_EQ(Load("cifar100", Split::kTest).labels, (std::vector<int32_t>{66, 77}));
}

TEST_F(CifarFiles, GivenByNameComeInTheirOrder) {
  folder_.Write("a.bin", Records(CifarKind::kCifar10, {1}));
  const std::string absolute = folder_.Write("sub/b.bin", Records(CifarKind::kCifar10, {2}));
  EXPECT_EQ(Load("cifar10", Split::kTrain, {"sub/b.bin", "a.bin"}).labels,
            (std::vector<int32_t>{2, 1}));
  EXPECT_EQ(Load("cifar10", Split::kTrain, {absolute}).labels, (std::vector<int32_t>{2}));
}

TEST_F(CifarFiles, MissingOnesAreNamed) {
  ExpectError([&] { Load("cifar10", Split::kTest); },
              {folder_.path(), "test_batch.bin", "cifar-10-batches-bin/test_batch.bin",
               "--train-files", "--test-files"});
  for (int i = 1; i <= 4; ++i) {
    folder_.Write("data_batch_" + std::to_string(i) + ".bin", Records(CifarKind::kCifar10, {1}));
  }
  ExpectError([&] { Load("cifar10", Split::kTrain); }, {"data_batch_5.bin"});
  ExpectError([&] { Load("cifar10", Split::kTest, {"gone.bin"}); }, {"gone.bin", "no such file"});
  ExpectError([&] { LoadDataset({.name = "cifar10", .data_dir = "/nowhere"}, Split::kTest); },
              {"/nowhere", "--data-dir"}, Error::Kind::kUsage);
  ExpectError([&] { LoadDataset({.name = "cifar10", .data_dir = ""}, Split::kTest); },
              {"--data-dir"}, Error::Kind::kUsage);
}

TEST_F(CifarFiles, ThatCannotBeReadAreNamed) {
  std::filesystem::create_directories(folder_.path() + "/test_batch.bin");
  ExpectError([&] { Load("cifar10", Split::kTest); }, {"test_batch.bin", "it is a folder"});
  folder_.Write("empty.bin", {});
  ExpectError([&] { Load("cifar10", Split::kTest, {"empty.bin"}); }, {"empty.bin", "empty"});
  const std::string secret = folder_.Write("secret.bin", Records(CifarKind::kCifar10, {1}));
  std::filesystem::permissions(secret, std::filesystem::perms::none);
  if (geteuid() != 0) {  // root may read everything
    ExpectError([&] { Load("cifar10", Split::kTest, {"secret.bin"}); },
                {"secret.bin", "permission"});
  }
  ExpectError([&] { Load("cifar10", Split::kTest, {"/dev/null"}); }, {"/dev/null"});
  // Nothing of an absurdly large file is read; it takes no room on the disk.
  const std::string huge = folder_.Write("huge.bin", {});
  std::filesystem::resize_file(huge, uintmax_t{3073} << 30);
  ExpectError([&] { Load("cifar10", Split::kTest, {"huge.bin"}); }, {"huge.bin", "bytes"});
  ExpectError([&] { Load("cifar10", Split::kTest, {"test_batch.bin/x"}); }, {"test_batch.bin/x"});
}

TEST(Datasets, UnknownNamesAreUsageErrors) {
  ExpectError([] { LoadDataset({.name = "cifar11"}, Split::kTrain); }, {"cifar11", "did you mean"},
              Error::Kind::kUsage);
  ExpectError([] { DefaultNormalization("imagenet22k"); }, {"imagenet22k"}, Error::Kind::kUsage);
}

TEST(Datasets, AllNamesHaveANormalization) {
  for (const std::string& name : DatasetNames()) {
    if (name == "packed") continue;  // has that of what was packed
    const Normalization normalization = DefaultNormalization(name);
    const size_t channels = name == "mnist" ? 1 : 3;
    EXPECT_EQ(normalization.mean.size(), channels) << name;
    EXPECT_EQ(normalization.deviation.size(), channels) << name;
    for (const float deviation : normalization.deviation) EXPECT_GT(deviation, 0) << name;
  }
}

}  // namespace
}  // namespace thinwire
