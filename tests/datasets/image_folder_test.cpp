#include "datasets/image_folder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "datasets/batch_pipeline.h"
#include "tests/datasets/image_testing.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

constexpr ImageOptions kSmall = {.size = 8, .resize = 8};
constexpr ImageOptions kSkipping = {.size = 8, .resize = 8, .skip_unreadable = true};

/// A grey image of 8x8.
Bytes Grey(int level) { return EncodePng(Bytes(8 * 8 * 3, static_cast<uint8_t>(level)), 8, 8); }

/// `count` grey images in three classes: image i has level i.
void WriteSplit(const TemporaryFolder& folder, const std::string& split, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string name = std::string(1, "bca"[i % 3]) + "/" + std::to_string(100 + i) + ".png";
    folder.Write(split + name, Grey(i));
  }
}

/// The levels of a batch's images without those that do not count.
std::vector<int> Levels(const Batch& batch) {
  std::vector<int> levels;
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] < 0) continue;
    levels.push_back(static_cast<int>(std::lround(batch.images[i * 8 * 8 * 3] * 255)));
    EXPECT_EQ(batch.labels[i], std::string("abc").find("bca"[levels.back() % 3]));
  }
  return levels;
}

PipelineOptions Plain(int64_t batch_size) {
  return {.batch_size = batch_size, .normalization = {{0, 0, 0}, {1, 1, 1}}, .seed = 4};
}

TEST(ImageFolder, ListsClassesAndFilesByName) {
  const TemporaryFolder folder;
  folder.Write("zebra/2.png", Grey(1));
  folder.Write("zebra/10.png", Grey(1));
  folder.Write("ant/deep/er/1.jpg", Grey(1));
  folder.Write("ant/.hidden", Grey(1));
  folder.Write(".git/x.png", Grey(1));
  folder.Write("classes.txt", Grey(1));
  const ImageFolderListing listing = ListImageFolder(folder.path());
  EXPECT_EQ(listing.classes, (std::vector<std::string>{"ant", "zebra"}));
  ASSERT_EQ(listing.files.size(), 3u);
  EXPECT_EQ(listing.files[0].path, folder.path() + "/ant/deep/er/1.jpg");
  EXPECT_EQ(listing.files[1].path, folder.path() + "/zebra/10.png");
  EXPECT_EQ(listing.files[2].path, folder.path() + "/zebra/2.png");
  EXPECT_EQ(listing.files[0].label, 0);
  EXPECT_EQ(listing.files[2].label, 1);
  EXPECT_TRUE(listing.problems.empty());
  const Dataset dataset = LoadImageFolder(folder.path(), kSmall, Split::kTrain);
  EXPECT_EQ(dataset.count, 3);
  EXPECT_EQ(dataset.classes, 2);
  EXPECT_EQ(dataset.class_names, listing.classes);
  EXPECT_EQ(dataset.labels, (std::vector<int32_t>{0, 1, 1}));
  EXPECT_EQ(LoadImageFolder(folder.path(), kSmall, Split::kTest).count, 3);
}

TEST(ImageFolder, SplitsShareTheTrainingClasses) {
  const TemporaryFolder folder;
  for (const char* name :
       {"train/a/1", "train/b/1", "train/c/1", "val/a/1", "val/c/1", "val/c/2"}) {
    folder.Write(name, Grey(1));
  }
  const Dataset train = LoadImageFolder(folder.path(), kSmall, Split::kTrain);
  EXPECT_EQ(train.labels, (std::vector<int32_t>{0, 1, 2}));
  const Dataset val = LoadImageFolder(folder.path(), kSmall, Split::kTest);
  EXPECT_EQ(val.labels, (std::vector<int32_t>{0, 2, 2}));
  EXPECT_EQ(val.classes, 3);

  folder.Write("val/d/1", Grey(1));
  ExpectError([&] { LoadImageFolder(folder.path(), kSmall, Split::kTest); },
              {"class d", "not among the training images", "--on-bad-image skip"});
  const Dataset skipped = LoadImageFolder(folder.path(), kSkipping, Split::kTest);
  EXPECT_EQ(skipped.labels, (std::vector<int32_t>{0, 2, 2}));
  ASSERT_EQ(skipped.left_out.size(), 1u);
}

TEST(ImageFolder, ProblemsAreNamed) {
  const TemporaryFolder folder;
  folder.Write("train/a/1.png", Grey(1));
  folder.Write("train/b/1.png", Grey(1));
  ExpectError([&] { LoadImageFolder(folder.path(), kSmall, Split::kTest); },
              {"train", "not", "val"});
  const auto problem = [&](const std::string& text) {
    ExpectError([&] { LoadImageFolder(folder.path(), kSmall, Split::kTrain); }, {text});
    const Dataset dataset = LoadImageFolder(folder.path(), kSkipping, Split::kTrain);
    EXPECT_EQ(dataset.count, 2);
    ASSERT_EQ(dataset.left_out.size(), 1u);
    EXPECT_NE(dataset.left_out[0].find(text), std::string::npos) << dataset.left_out[0];
  };
  const fs::path link = folder.path() + "/train/a/link.png";
  fs::create_symlink("nowhere.png", link);
  problem("link.png is a link that leads nowhere");
  fs::remove(link);
  fs::create_directory_symlink(folder.path(), link);
  problem("link.png is a link to a folder");
  fs::remove(link);
  fs::create_directory(folder.path() + "/train/empty");
  problem("empty holds no files");
  fs::remove(folder.path() + "/train/empty");

  ExpectError([&] { LoadImageFolder(folder.path() + "/nowhere", kSmall, Split::kTrain); },
              {"nowhere", "is not there"}, Error::Kind::kUsage);
  ExpectError([&] { LoadImageFolder(folder.path() + "/train/a", kSmall, Split::kTrain); },
              {"has no class folders"});
}

TEST(ImageFolder, UnreadableFolders) {
  const TemporaryFolder folder;
  folder.Write("a/1.png", Grey(1));
  folder.Write("b/1.png", Grey(1));
  const fs::path closed = folder.path() + "/b";
  fs::permissions(closed, fs::perms::none);
  std::error_code code;
  fs::directory_iterator probe(closed, code);
  if (!code) GTEST_SKIP() << "root reads every folder";
  const ImageFolderListing listing = ListImageFolder(folder.path());
  fs::permissions(closed, fs::perms::owner_all);
  ASSERT_EQ(listing.problems.size(), 1u);
  EXPECT_NE(listing.problems[0].find("cannot be read"), std::string::npos);
}

TEST(ImageFolder, EachImageOnceAnEpochOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  WriteSplit(folder, "", 26);
  const Dataset dataset = LoadImageFolder(folder.path(), kSmall, Split::kTrain);
  for (const bool training : {false, true}) {
    for (const int64_t ranks : {1, 2, 4}) {
      std::multiset<int> seen;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        PipelineOptions options = Plain(3);
        options.drop_last = options.shuffle = training;
        if (training) options.augmentation = {.flip = true, .random_resized_crop = true};
        options.rank = rank;
        options.ranks = ranks;
        options.threads = 2;
        BatchPipeline pipeline(dataset, options);
        for (int64_t i = 0; i < pipeline.batches_per_epoch(); ++i) {
          for (const int level : Levels(pipeline.Next())) seen.insert(level);
        }
      }
      EXPECT_EQ(std::ssize(seen), training ? 26 - 26 % (3 * ranks) : 26);
      EXPECT_EQ(std::set<int>(seen.begin(), seen.end()).size(), seen.size());
    }
  }
}

TEST(ImageFolder, BatchesDoNotDependOnThreadsAndResumeAnywhere) {
  const TemporaryFolder folder;
  for (int i = 0; i < 20; ++i) {
    folder.Write((i % 2 ? "a/" : "b/") + std::to_string(i),
                 EncodeJpeg(MakePicture(60, 40, static_cast<uint64_t>(i)), 60, 40));
  }
  const Dataset dataset = LoadImageFolder(folder.path(), {.size = 16, .resize = 20}, Split::kTrain);
  PipelineOptions options = Plain(6);
  options.augmentation = {.flip = true, .random_resized_crop = true};
  const auto take = [&](int64_t epoch, int64_t index, int count) {
    BatchPipeline pipeline(dataset, options, epoch, index);
    std::vector<std::vector<float>> batches;
    for (int i = 0; i < count; ++i) {
      const Batch batch = pipeline.Next();
      batches.emplace_back(batch.images.begin(), batch.images.end());
    }
    return batches;
  };
  const auto expected = take(0, 0, 9);
  EXPECT_NE(expected[0], expected[3]);
  options.threads = 3;
  options.prefetch = 5;
  EXPECT_EQ(take(0, 0, 9), expected);
  EXPECT_EQ(take(1, 1, 5), (std::vector<std::vector<float>>(expected.begin() + 4, expected.end())));
}

TEST(ImageFolder, UnreadableImagesStopOrAreLeftOut) {
  const TemporaryFolder folder;
  WriteSplit(folder, "", 30);
  const Bytes cut = Grey(9);
  folder.Write("a/102.png", std::span(cut).first(cut.size() / 2));
  folder.Write("b/103.png", Bytes{});
  folder.Write("c/104.png", Bytes{'h', 'e', 'l', 'l', 'o'});
  PipelineOptions options = Plain(10);
  options.shuffle = false;
  {
    const Dataset dataset = LoadImageFolder(folder.path(), kSmall, Split::kTrain);
    BatchPipeline pipeline(dataset, options);
    ExpectError([&] { pipeline.Next(); }, {"a/102.png", "end early"});
  }
  const Dataset dataset = LoadImageFolder(folder.path(), kSkipping, Split::kTrain);
  BatchPipeline pipeline(dataset, options);
  std::vector<std::string> reasons;
  std::multiset<int> seen;
  for (int i = 0; i < 3; ++i) {
    const Batch batch = pipeline.Next();
    EXPECT_EQ(batch.rows, 10);
    for (const std::string& reason : batch.unreadable) reasons.push_back(reason);
    for (const int level : Levels(batch)) seen.insert(level);
    // What stands in for them is another image of the batch.
    for (size_t row = 0; row < 10; ++row)
      EXPECT_EQ(batch.images[row * 192], batch.images[row * 192 + 191]);
  }
  ASSERT_EQ(reasons.size(), 3u);
  EXPECT_NE(reasons[0].find("102.png"), std::string::npos);
  EXPECT_EQ(seen.size(), 27u);
  EXPECT_EQ(seen.count(2) + seen.count(3) + seen.count(4), 0u);
}

TEST(ImageFolder, ABatchWithoutAnyImageIsAnError) {
  const TemporaryFolder folder;
  for (const char* name : {"a/1", "b/2"}) folder.Write(name, Bytes{1, 2, 3});
  const Dataset dataset = LoadImageFolder(folder.path(), kSkipping, Split::kTrain);
  PipelineOptions options = Plain(2);
  {
    BatchPipeline pipeline(dataset, options);
    ExpectError([&] { pipeline.Next(); }, {"none of a batch's 2 images"});
  }
  options.drop_last = false;  // evaluation counts what there is
  BatchPipeline pipeline(dataset, options);
  EXPECT_EQ(pipeline.Next().unreadable.size(), 2u);
}

}  // namespace
}  // namespace thinwire
