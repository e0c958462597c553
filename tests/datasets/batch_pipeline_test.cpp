#include "datasets/batch_pipeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <thread>

#include "datasets/shapes.h"
#include "tests/datasets/image_testing.h"

namespace thinwire {
namespace {

constexpr int32_t kClasses = 7;

/// Images of 1x2 whose bytes spell their index, which is also their label, modulo 7.
Dataset Numbered(int64_t count) {
  Dataset dataset{.name = "numbered",
                  .count = count,
                  .height = 1,
                  .width = 2,
                  .channels = 1,
                  .classes = kClasses};
  for (int64_t i = 0; i < count; ++i) {
    dataset.images.push_back(static_cast<uint8_t>(i >> 8));
    dataset.images.push_back(static_cast<uint8_t>(i));
    dataset.labels.push_back(static_cast<int32_t>(i % kClasses));
  }
  return dataset;
}

PipelineOptions NumberedOptions(int64_t batch_size, bool shuffle = true, bool drop_last = true) {
  return {.batch_size = batch_size,
          .shuffle = shuffle,
          .drop_last = drop_last,
          .normalization = {{0.0f}, {1.0f}},
          .seed = 5};
}

/// The indices of a batch's images; checks labels and padding.
std::vector<int64_t> Indices(const Batch& batch) {
  std::vector<int64_t> indices;
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    const float high = batch.images[2 * i], low = batch.images[2 * i + 1];
    if (static_cast<int64_t>(i) >= batch.rows) {
      EXPECT_EQ(batch.labels[i], -1);
      EXPECT_EQ(high, 0);
      EXPECT_EQ(low, 0);
      continue;
    }
    indices.push_back(std::lround(high * 255) * 256 + std::lround(low * 255));
    EXPECT_EQ(batch.labels[i], indices.back() % kClasses);
  }
  return indices;
}

/// A batch that outlives its pipeline's memory.
struct Copy {
  explicit Copy(const Batch& batch)
      : images(batch.images.begin(), batch.images.end()),
        labels(batch.labels.begin(), batch.labels.end()),
        rows(batch.rows),
        epoch(batch.epoch),
        index(batch.index),
        last_of_epoch(batch.last_of_epoch) {}
  bool operator==(const Copy&) const = default;

  std::vector<float> images;
  std::vector<int32_t> labels;
  int64_t rows, epoch, index;
  bool last_of_epoch;
};

std::vector<Copy> Take(BatchPipeline& pipeline, int64_t count) {
  std::vector<Copy> copies;
  for (int64_t i = 0; i < count; ++i) copies.emplace_back(pipeline.Next());
  return copies;
}

TEST(BatchPipeline, InOrderWithoutShuffling) {
  const Dataset dataset = Numbered(10);
  BatchPipeline pipeline(dataset, NumberedOptions(4, false, false));
  EXPECT_EQ(pipeline.batches_per_epoch(), 3);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    for (int64_t i = 0; i < 3; ++i) {
      const Batch batch = pipeline.Next();
      EXPECT_EQ(batch.epoch, epoch);
      EXPECT_EQ(batch.index, i);
      EXPECT_EQ(batch.last_of_epoch, i == 2);
      EXPECT_EQ(batch.rows, i == 2 ? 2 : 4);
      EXPECT_EQ(batch.labels.size(), 4u);
      EXPECT_EQ(batch.images.size(), 8u);
      std::vector<int64_t> expected(static_cast<size_t>(batch.rows));
      std::iota(expected.begin(), expected.end(), 4 * i);
      EXPECT_EQ(Indices(batch), expected);
    }
  }
}

TEST(BatchPipeline, EachImageOncePerEpochOnAnyNumberOfRanks) {
  for (const int64_t count : {1, 31, 32, 33, 127, 1009}) {
    const Dataset dataset = Numbered(count);
    for (const int64_t ranks : {1, 2, 3, 4}) {
      for (const int64_t batch_size : {1, 5, 32}) {
        for (const bool drop_last : {false, true}) {
          if (drop_last && count < ranks * batch_size) continue;
          std::vector<int> seen(static_cast<size_t>(count));
          int64_t batches = -1;
          for (int64_t rank = 0; rank < ranks; ++rank) {
            PipelineOptions options = NumberedOptions(batch_size, true, drop_last);
            options.rank = rank;
            options.ranks = ranks;
            BatchPipeline pipeline(dataset, options);
            EXPECT_TRUE(rank == 0 || pipeline.batches_per_epoch() == batches);
            batches = pipeline.batches_per_epoch();
            for (int64_t i = 0; i < batches; ++i) {
              for (const int64_t index : Indices(pipeline.Next())) {
                ++seen.at(static_cast<size_t>(index));
              }
            }
          }
          const int64_t global_batch = ranks * batch_size;
          const int64_t left_out = drop_last ? count % global_batch : 0;
          EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), count - left_out);
          EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), left_out);
        }
      }
    }
  }
}

TEST(BatchPipeline, RanksTogetherAreOneRankWithALargerBatch) {
  const Dataset dataset = MakeShapes(0, Split::kTrain, 67);
  for (const int64_t ranks : {2, 3, 4}) {
    for (const bool drop_last : {false, true}) {
      PipelineOptions options{.batch_size = 5 * ranks,
                              .drop_last = drop_last,
                              .augmentation = {.crop_padding = 4, .flip = true, .cutout = 8},
                              .normalization = DefaultNormalization("shapes"),
                              .seed = 3};
      BatchPipeline together(dataset, options);
      std::vector<std::unique_ptr<BatchPipeline>> parts;
      options.batch_size = 5;
      options.ranks = ranks;
      for (options.rank = 0; options.rank < ranks; ++options.rank) {
        parts.push_back(std::make_unique<BatchPipeline>(dataset, options));
        ASSERT_EQ(parts.back()->batches_per_epoch(), together.batches_per_epoch());
      }
      for (int64_t i = 0; i < 2 * together.batches_per_epoch(); ++i) {
        std::vector<float> images;
        std::vector<int32_t> labels;
        int64_t rows = 0;
        for (const auto& part : parts) {
          const Batch batch = part->Next();
          images.insert(images.end(), batch.images.begin(), batch.images.end());
          labels.insert(labels.end(), batch.labels.begin(), batch.labels.end());
          rows += batch.rows;
        }
        const Copy whole(together.Next());
        EXPECT_EQ(images, whole.images);
        EXPECT_EQ(labels, whole.labels);
        EXPECT_EQ(rows, whole.rows);
      }
    }
  }
}

PipelineOptions AugmentedOptions(int threads) {
  return {.batch_size = 16,
          .drop_last = false,
          .augmentation = {.crop_padding = 4, .flip = true, .cutout = 8},
          .normalization = DefaultNormalization("shapes"),
          .seed = 11,
          .threads = threads};
}

TEST(BatchPipeline, BatchesDoNotDependOnThreadsOrPrefetching) {
  const Dataset dataset = MakeShapes(0, Split::kTrain, 127);
  BatchPipeline one(dataset, AugmentedOptions(1));
  const std::vector<Copy> expected = Take(one, 20);  // two and a half epochs
  for (const int threads : {1, 2, 3, 5}) {
    for (const int64_t prefetch : {1, 3, 40}) {
      PipelineOptions options = AugmentedOptions(threads);
      options.prefetch = prefetch;
      BatchPipeline pipeline(dataset, options);
      EXPECT_EQ(Take(pipeline, 20), expected) << threads << " threads, " << prefetch << " ahead";
    }
  }
}

TEST(BatchPipeline, ResumesAnywhere) {
  const Dataset dataset = MakeShapes(0, Split::kTrain, 127);
  BatchPipeline whole(dataset, AugmentedOptions(2));
  const int64_t per_epoch = whole.batches_per_epoch();
  ASSERT_EQ(per_epoch, 8);
  const std::vector<Copy> expected = Take(whole, 3 * per_epoch);
  for (int64_t start = 0; start <= 2 * per_epoch; ++start) {
    BatchPipeline pipeline(dataset, AugmentedOptions(2), start / per_epoch, start % per_epoch);
    EXPECT_EQ(Take(pipeline, 3),
              std::vector<Copy>(expected.begin() + start, expected.begin() + start + 3))
        << "from batch " << start;
  }
  // The end of an epoch is the beginning of the next.
  BatchPipeline pipeline(dataset, AugmentedOptions(2), 0, per_epoch);
  EXPECT_EQ(Copy(pipeline.Next()), expected[static_cast<size_t>(per_epoch)]);
}

TEST(BatchPipeline, ShufflesDifferentlyInEachEpochAndWithEachSeed) {
  const Dataset dataset = Numbered(127);
  const auto orders = [&](uint64_t seed) {
    PipelineOptions options = NumberedOptions(127);
    options.seed = seed;
    BatchPipeline pipeline(dataset, options);
    std::vector<std::vector<int64_t>> all;
    for (int i = 0; i < 3; ++i) all.push_back(Indices(pipeline.Next()));
    return all;
  };
  const auto first = orders(1), second = orders(2);
  EXPECT_EQ(first, orders(1));
  EXPECT_NE(first[0], first[1]);
  EXPECT_NE(first[1], first[2]);
  EXPECT_NE(first[0], second[0]);
  EXPECT_FALSE(std::is_sorted(first[0].begin(), first[0].end()));
}

TEST(BatchPipeline, AllPermutationsAreEquallyLikely) {
  constexpr int kEpochs = 6000;
  const Dataset dataset = Numbered(3);
  BatchPipeline pipeline(dataset, NumberedOptions(3));
  std::map<std::vector<int64_t>, int> counts;
  for (int i = 0; i < kEpochs; ++i) ++counts[Indices(pipeline.Next())];
  EXPECT_EQ(counts.size(), 6u);
  const double deviation = std::sqrt(kEpochs / 6.0 * (5.0 / 6.0));
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, kEpochs / 6.0, 5 * deviation);
}

TEST(BatchPipeline, ABatchStaysUntilTheNextIsAskedFor) {
  const Dataset dataset = Numbered(64);
  PipelineOptions options = NumberedOptions(8);
  options.threads = 3;
  options.prefetch = 1;
  BatchPipeline pipeline(dataset, options);
  for (int i = 0; i < 5; ++i) {
    const Batch batch = pipeline.Next();
    const Copy before(batch);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // for the workers to run ahead
    EXPECT_EQ(Copy(batch), before);
  }
}

TEST(BatchPipeline, StopsWhileWorkersAreBusy) {
  const Dataset dataset = MakeShapes(0, Split::kTrain, 64);
  for (int i = 0; i < 60; ++i) {
    PipelineOptions options = AugmentedOptions(1 + i % 4);
    options.prefetch = 1 + i % 3;
    BatchPipeline pipeline(dataset, options);
    for (int j = 0; j < i % 5; ++j) pipeline.Next();
  }
}

constexpr int64_t kSlow = 12;

/// JPEG files of several sizes in memory; those whose index is in `bad` are cut short.
class Pictures final : public EncodedImages {
 public:
  Pictures(int64_t count, const std::set<int64_t>& bad) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t width = 20 + i % 5 * 13, height = 50 - i % 3 * 11;
      files_.push_back(
          EncodeJpeg(MakePicture(width, height, static_cast<uint64_t>(i)), width, height));
      if (bad.contains(i)) files_.back().resize(40);
    }
  }
  int64_t count() const override { return std::ssize(files_); }
  std::string name(int64_t index) const override { return "picture " + std::to_string(index); }
  std::span<const uint8_t> Read(int64_t index, std::vector<uint8_t>&) const override {
    // Other threads come first, where there are any.
    if (index == kSlow) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return files_[static_cast<size_t>(index)];
  }

 private:
  std::vector<std::vector<uint8_t>> files_;
};

Dataset EncodedDataset(int64_t count, const std::set<int64_t>& bad = {}) {
  Dataset dataset{.name = "pictures",
                  .count = count,
                  .height = 16,
                  .width = 16,
                  .channels = 3,
                  .classes = kClasses,
                  .encoded = std::make_shared<Pictures>(count, bad),
                  .image_options = {.size = 16, .resize = 18, .skip_unreadable = true}};
  for (int64_t i = 0; i < count; ++i) dataset.labels.push_back(static_cast<int32_t>(i % kClasses));
  return dataset;
}

PipelineOptions EncodedOptions(int threads) {
  return {.batch_size = 10,
          .drop_last = false,
          .augmentation = {.flip = true, .random_resized_crop = true},
          .normalization = DefaultNormalization("image-folder"),
          .seed = 3,
          .threads = threads};
}

TEST(BatchPipeline, ThreadsShareABatchOfEncodedImages) {
  const Dataset dataset = EncodedDataset(37, {5, 6, 30});
  using Unreadable = std::vector<std::vector<std::string>>;
  const auto take = [&](int threads, Unreadable& unreadable) {
    BatchPipeline pipeline(dataset, EncodedOptions(threads));
    std::vector<Copy> copies;
    for (int i = 0; i < 10; ++i) {
      const Batch batch = pipeline.Next();
      copies.emplace_back(batch);
      unreadable.emplace_back(batch.unreadable.begin(), batch.unreadable.end());
    }
    return copies;
  };
  Unreadable unreadable;
  const std::vector<Copy> expected = take(1, unreadable);
  // Each image is what it is alone, and those that cannot be read are named once an epoch.
  const ImageTransform transform(dataset.image_options, EncodedOptions(1).augmentation,
                                 EncodedOptions(1).normalization, 3);
  ImageTransform::Scratch scratch;
  std::vector<uint8_t> buffer;
  std::vector<float> image(16 * 16 * 3);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    int64_t found = 0, bad = 0;
    for (int64_t index = 0; index < dataset.count; ++index) {
      if (index == 5 || index == 6 || index == 30) continue;
      transform.Apply(dataset.encoded->Read(index, buffer), "a", epoch, index, image.data(),
                      scratch);
      for (int64_t i = 4 * epoch; i < 4 * epoch + 4; ++i) {
        const Copy& batch = expected[static_cast<size_t>(i)];
        for (int64_t row = 0; row < batch.rows; ++row) {
          if (batch.labels[static_cast<size_t>(row)] < 0) continue;  // a copy of another one
          found += std::equal(image.begin(), image.end(),
                              batch.images.begin() + row * std::ssize(image));
        }
      }
    }
    for (int64_t i = 4 * epoch; i < 4 * epoch + 4; ++i) {
      bad += std::ssize(unreadable[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(found, 34);
    EXPECT_EQ(bad, 3);
  }
  for (const int threads : {2, 3, 8}) {
    Unreadable again;
    EXPECT_EQ(take(threads, again), expected) << threads << " threads";
    EXPECT_EQ(again, unreadable);
  }
}

TEST(BatchPipeline, EncodedImagesAsBytesAreTheSameImages) {
  const Dataset dataset = EncodedDataset(23, {4});
  PipelineOptions options = EncodedOptions(2);
  BatchPipeline images(dataset, options);
  options.deliver_bytes = true;
  BatchPipeline bytes(dataset, options);
  const std::vector<float>& table = bytes.image_maker().table();
  for (int i = 0; i < 6; ++i) {
    const Copy expected(images.Next());
    const Batch batch = bytes.Next();
    EXPECT_TRUE(batch.images.empty());
    ASSERT_EQ(std::ssize(batch.bytes), expected.rows * 16 * 16 * 3);
    ASSERT_EQ(std::ssize(batch.augmentations), expected.rows);
    for (size_t j = 0; j < batch.bytes.size(); ++j) {
      ASSERT_EQ(table[j % 3 * 256 + batch.bytes[j]], expected.images[j]);
    }
    for (const Augmentation& augmentation : batch.augmentations) {
      EXPECT_TRUE(augmentation.flip == 0 && augmentation.shift_x == 0 && augmentation.shift_y == 0);
    }
    EXPECT_TRUE(std::equal(batch.labels.begin(), batch.labels.end(), expected.labels.begin()));
  }
}

TEST(BatchPipeline, TheFirstBadImageStopsARunWhicheverThreadFindsIt) {
  Dataset dataset = EncodedDataset(30, {kSlow, 13, 17, 18});
  dataset.image_options.skip_unreadable = false;
  PipelineOptions options = EncodedOptions(4);
  options.shuffle = false;
  for (int i = 0; i < 10; ++i) {
    BatchPipeline pipeline(dataset, options);
    EXPECT_EQ(pipeline.Next().rows, 10);
    ExpectError([&] { pipeline.Next(); }, {"picture 12"});
  }
}

TEST(BatchPipeline, AWorkersErrorReachesTheTrainer) {
  Dataset dataset = Numbered(40);
  dataset.labels[25] = kClasses;
  for (const int threads : {1, 3}) {
    PipelineOptions options = NumberedOptions(10, false);
    options.threads = threads;
    BatchPipeline pipeline(dataset, options);
    EXPECT_EQ(pipeline.Next().index, 0);
    EXPECT_EQ(pipeline.Next().index, 1);
    for (int i = 0; i < 3; ++i) {
      ExpectError([&] { pipeline.Next(); }, {"image 25", "numbered", "label 7", "7 classes"});
    }
  }
}

TEST(BatchPipeline, RefusesOptionsThatMakeNoSense) {
  const Dataset dataset = Numbered(40);
  const auto refused = [&](const std::string& part, auto change, int64_t epoch = 0,
                           int64_t index = 0) {
    PipelineOptions options = NumberedOptions(10);
    change(options);
    ExpectError([&] { BatchPipeline(dataset, options, epoch, index); }, {part},
                Error::Kind::kUsage);
  };
  const auto nothing = [](PipelineOptions&) {};
  refused("batch size is 0", [](auto& options) { options.batch_size = 0; });
  refused("batch size is -3", [](auto& options) { options.batch_size = -3; });
  refused("batch size is", [](auto& options) { options.batch_size = int64_t{1} << 60; });
  refused("rank is 2", [](auto& options) { options.rank = options.ranks = 2; });
  refused("rank is -1", [](auto& options) { options.rank = -1; });
  refused("number of ranks is 0", [](auto& options) { options.ranks = 0; });
  refused("threads is 0", [](auto& options) { options.threads = 0; });
  refused("ready ahead is 0", [](auto& options) { options.prefetch = 0; });
  refused("crop padding", [](auto& options) { options.augmentation.crop_padding = 2; });
  refused("deviation", [](auto& options) { options.normalization.deviation = {-1.0f}; });
  refused("40 images, fewer than one batch of 41", [](auto& options) { options.batch_size = 41; });
  refused("on each of 5 ranks", [](auto& options) { options.ranks = 5; });
  refused("batch to start at is 5", nothing, 0, 5);
  refused("batch to start at is -1", nothing, 0, -1);
  refused("epoch to start at is -1", nothing, -1, 0);
  ExpectError([] { BatchPipeline(Numbered(0), NumberedOptions(1)); }, {"images", "is 0"},
              Error::Kind::kUsage);
}

}  // namespace
}  // namespace thinwire
