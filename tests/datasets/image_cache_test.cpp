#include "datasets/image_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "datasets/batch_pipeline.h"
#include "datasets/image_folder.h"
#include "tests/datasets/image_testing.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

/// Images of 100 bytes, each its number over and over; number 3 cannot be read.
class CountedImages final : public EncodedImages {
 public:
  int64_t count() const override { return 40; }
  std::string name(int64_t index) const override { return "image " + std::to_string(index); }
  std::span<const uint8_t> Read(int64_t index, Bytes& buffer) const override {
    ++reads;
    if (index == 3) throw Error("image 3 is broken", "");
    buffer.assign(100, static_cast<uint8_t>(index));
    return buffer;
  }
  mutable std::atomic<int> reads = 0;
};

bool IsImage(int64_t index, std::span<const uint8_t> bytes) {
  return bytes.size() == 100 &&
         std::all_of(bytes.begin(), bytes.end(), [&](uint8_t byte) { return byte == index; });
}

TEST(ImageCache, ReadsEachImageOnce) {
  const auto source = std::make_shared<CountedImages>();
  const auto budget = std::make_shared<CacheBudget>(0);
  const ImageCache cache(source, budget);
  Bytes buffer;
  for (int round = 0; round < 3; ++round) {
    for (int64_t i = 0; i < cache.count(); ++i) {
      if (i == 3) {
        ExpectError([&] { cache.Read(i, buffer); }, {"image 3 is broken"});
      } else {
        EXPECT_TRUE(IsImage(i, cache.Read(i, buffer))) << i;
      }
    }
  }
  EXPECT_EQ(source->reads, 39 + 3);
  EXPECT_EQ(cache.cached(), 39);
  EXPECT_GE(budget->used(), 3900);
  EXPECT_FALSE(budget->exhausted());
  EXPECT_EQ(cache.name(5), "image 5");
}

TEST(ImageCache, StopsAtItsLimit) {
  const auto source = std::make_shared<CountedImages>();
  const auto budget = std::make_shared<CacheBudget>(1000);
  const ImageCache cache(source, budget), other(source, budget);
  Bytes buffer;
  for (int round = 0; round < 2; ++round) {
    for (int64_t i = 4; i < 40; ++i) EXPECT_TRUE(IsImage(i, cache.Read(i, buffer)));
  }
  EXPECT_TRUE(budget->exhausted());
  EXPECT_GT(cache.cached(), 3);
  EXPECT_LE(budget->used(), 1000);
  EXPECT_EQ(source->reads, 36 + 36 - cache.cached());
  EXPECT_TRUE(IsImage(7, other.Read(7, buffer)));  // shares the limit
  EXPECT_EQ(other.cached(), 0);
}

TEST(ImageCache, LeavesATenthOfTheMemory) {
  int64_t available = 10'000'000'000;
  CacheBudget budget(0, [&] { return available; });
  EXPECT_TRUE(budget.Take(8'000'000'000));
  available = 2'000'000'000;
  EXPECT_TRUE(budget.Take(500'000'000));
  available = 1'500'000'000;
  EXPECT_FALSE(budget.Take(600'000'000));
  EXPECT_EQ(budget.used(), 8'500'000'000);
  available = 9'000'000'000;
  EXPECT_FALSE(budget.Take(1));  // for good, so that what is kept does not depend on the moment
  EXPECT_GT(AvailableMemory(), 1 << 20);
}

TEST(ImageCache, ManyThreadsKeepOneCopy) {
  const auto source = std::make_shared<CountedImages>();
  const auto budget = std::make_shared<CacheBudget>(0);
  const ImageCache cache(source, budget);
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        Bytes buffer;
        for (int64_t i = 4; i < 40; ++i) wrong += IsImage(i, cache.Read(i, buffer)) ? 0 : 1;
      });
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(cache.cached(), 36);
  EXPECT_EQ(budget->used() % 36, 0);
}

TEST(ImageCache, ServesBatchesAfterTheFilesAreGone) {
  const TemporaryFolder folder;
  for (int i = 0; i < 20; ++i) {
    folder.Write((i % 2 ? "a/" : "b/") + std::to_string(i),
                 EncodeJpeg(MakePicture(60, 40, static_cast<uint64_t>(i)), 60, 40));
  }
  Dataset dataset = LoadImageFolder(folder.path(), {.size = 16, .resize = 20}, Split::kTrain);
  const PipelineOptions options = {.batch_size = 5,
                                   .augmentation = {.flip = true, .random_resized_crop = true},
                                   .normalization = {{0, 0, 0}, {1, 1, 1}},
                                   .threads = 2};
  constexpr int kBatches = 12;  // three epochs
  std::vector<std::vector<float>> expected;
  {
    BatchPipeline pipeline(dataset, options);
    for (int i = 0; i < kBatches; ++i) {
      const Batch batch = pipeline.Next();
      expected.emplace_back(batch.images.begin(), batch.images.end());
    }
  }
  dataset.encoded = std::make_shared<ImageCache>(dataset.encoded, std::make_shared<CacheBudget>(0));
  BatchPipeline pipeline(dataset, options);
  for (int i = 0; i < kBatches; ++i) {
    const Batch batch = pipeline.Next();
    EXPECT_TRUE(std::equal(batch.images.begin(), batch.images.end(),
                           expected[static_cast<size_t>(i)].begin()))
        << i;
    if (i == 3) fs::remove_all(folder.path());
  }
}

}  // namespace
}  // namespace thinwire
