// thinwire prepare imagenet, and runs on what it packs.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "datasets/batch_pipeline.h"
#include "datasets/image_decoder.h"
#include "datasets/image_folder.h"
#include "datasets/packed_dataset.h"
#include "datasets/packed_images.h"
#include "tests/train/image_files.h"
#include "tests/train/prepare_images_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

constexpr ImageOptions kSmall = {.size = 24, .resize = 28};

ImageHeader HeaderOf(const PackedImages::Image& image) {
  return ReadImageHeader({reinterpret_cast<const uint8_t*>(image.bytes.data()), image.bytes.size()},
                         "image");
}

/// The same training and evaluation batches, byte for byte.
void ExpectTheSameBatches(const Dataset& expected, const Dataset& dataset) {
  for (const bool training : {true, false}) {
    PipelineOptions options = {.batch_size = 5,
                               .shuffle = training,
                               .drop_last = training,
                               .normalization = DefaultNormalization("image-folder"),
                               .seed = 7,
                               .threads = 2};
    if (training) options.augmentation = {.flip = true, .random_resized_crop = true};
    BatchPipeline one(expected, options), other(dataset, options);
    for (int64_t i = 0; i < 2 * one.batches_per_epoch(); ++i) {
      const Batch a = one.Next(), b = other.Next();
      ASSERT_TRUE(std::equal(a.images.begin(), a.images.end(), b.images.begin(), b.images.end()))
          << i;
      ASSERT_TRUE(std::equal(a.labels.begin(), a.labels.end(), b.labels.begin(), b.labels.end()));
    }
  }
}

TEST_F(PrepareImagesTest, CopiesAreTheFilesThemselves) {
  MakeFolder(20, 9);
  const ProgramResult result = Prepare({"--copy"});
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("Packed 29 images in 3 classes"), std::string::npos);
  const PackedImages images(file());
  EXPECT_EQ(images.kind(), "image-folder");
  EXPECT_EQ(images.classes(), (std::vector<std::string_view>{"a", "b", "c"}));
  ASSERT_EQ(images.count(), 29);
  for (int64_t i = 0; i < images.count(); ++i) {
    const PackedImages::Image image = images.Read(i);
    EXPECT_EQ(BytesOf(image), ReadText(data() + "/" + std::string(image.name))) << image.name;
    const bool training = image.name.starts_with("train/");
    EXPECT_EQ(image.split, training ? PackedSplit::kTrain : PackedSplit::kTest);
    EXPECT_EQ(images.classes()[static_cast<size_t>(image.label)][0], image.name[training ? 6 : 4]);
  }
  for (const Split split : {Split::kTrain, Split::kTest}) {
    SCOPED_TRACE(static_cast<int>(split));
    const Dataset packed = LoadPacked(file(), kSmall, split);
    EXPECT_EQ(packed.class_names, (std::vector<std::string>{"a", "b", "c"}));
    ExpectTheSameBatches(LoadImageFolder(data(), kSmall, split), packed);
  }
}

TEST_F(PrepareImagesTest, ARunOnTheCopyIsTheSame) {
  MakeFolder(20, 9);
  ASSERT_EQ(Prepare({"--copy"}).status, 0);
  const auto train = [&](const std::string& name, const Arguments& more) {
    Arguments arguments = {"train",      "--model",      "mlp",
                           "--img-size", "24",           "--epochs",
                           "2",          "--batch-size", "4",
                           "--lr",       "0.01",         "--threads",
                           "1",          "--output",     folder_ / name,
                           "--dataset",  "image-folder", "--log-interval",
                           "1",          "--data-dir",   data()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = RunProgram(arguments);
    EXPECT_EQ(result.status, 0) << result.errors;
    EXPECT_EQ(RunProgram({"export", folder_ / name, "--output", folder_ / (name + ".safetensors")})
                  .status,
              0);
    return WithoutTimes(Steps(folder_ / name));
  };
  const Arguments packed = {"--dataset", "packed", "--data-dir", file()};
  const auto expected = train("a", {});
  ASSERT_EQ(expected.size(), 10u);
  EXPECT_EQ(train("b", packed), expected);
  EXPECT_EQ(ReadText(folder_ / "a.safetensors"), ReadText(folder_ / "b.safetensors"));
  EXPECT_EQ(ReadText(folder_ / "b/classes.txt"), "a\nb\nc\n");

  Arguments ranks = packed;
  ranks.insert(ranks.end(), {"--workers", "2", "--batch-size", "2"});
  EXPECT_EQ(train("c", ranks).size(), 10u);
}

TEST_F(PrepareImagesTest, EachImageOnceAnEpochOnAnyNumberOfRanks) {
  for (int i = 0; i < 26; ++i) {
    WriteImageFile(data() + "/" + "abc"[i % 3] + std::string("/") + std::to_string(i) + ".ppm",
                   MakeGrey(8, 8, 9 * i));
  }
  ASSERT_EQ(Prepare().status, 0);
  const Dataset dataset = LoadPacked(file(), {.size = 8, .resize = 8}, Split::kTrain);
  EXPECT_EQ(LoadPacked(file(), {}, Split::kTest).count, 26);  // there are no others
  for (const bool training : {false, true}) {
    for (const int64_t ranks : {1, 2, 4}) {
      std::multiset<int> seen;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        BatchPipeline pipeline(dataset, {.batch_size = 3,
                                         .shuffle = training,
                                         .drop_last = training,
                                         .normalization = {{0, 0, 0}, {1, 1, 1}},
                                         .rank = rank,
                                         .ranks = ranks,
                                         .threads = 2});
        for (int64_t i = 0; i < pipeline.batches_per_epoch(); ++i) {
          const Batch batch = pipeline.Next();
          for (size_t row = 0; row < batch.labels.size(); ++row) {
            if (batch.labels[row] < 0) continue;
            seen.insert(static_cast<int>(std::lround(batch.images[row * 8 * 8 * 3] * 255)));
          }
        }
      }
      EXPECT_EQ(std::ssize(seen), training ? 26 - 26 % (3 * ranks) : 26);
      EXPECT_EQ(std::set<int>(seen.begin(), seen.end()).size(), seen.size());
    }
  }
}

TEST_F(PrepareImagesTest, LargeImagesShrink) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a/1.jpg", MakeJpeg(200, 101, 1)},
      {"a/2.jpg", MakeJpeg(61, 180, 2, 6)},
      {"b/3.jpg", MakeJpeg(80, 60, 3)},
      {"b/4.ppm", MakeGrey(81, 1, 77)},
      {"b/5.ppm", MakeGrey(80, 80, 33)}};
  for (const auto& [name, content] : files) WriteImageFile(data() + "/" + name, content);
  ASSERT_EQ(Prepare({"--max-side", "80", "--quality", "95"}).status, 0);
  const PackedImages images(file());
  ASSERT_EQ(images.count(), 5);
  const int64_t sizes[][2] = {{80, 40}, {27, 80}, {80, 60}, {80, 1}, {80, 80}};
  for (int64_t i = 0; i < 5; ++i) {
    const PackedImages::Image image = images.Read(i);
    EXPECT_EQ(image.split, PackedSplit::kBoth);
    const ImageHeader header = HeaderOf(image);
    EXPECT_EQ(header.width, sizes[i][0]) << image.name;
    EXPECT_EQ(header.height, sizes[i][1]) << image.name;
    EXPECT_EQ(header.orientation, i == 1 ? 6 : 1);
    const bool kept = BytesOf(image) == files[static_cast<size_t>(i)].second;
    EXPECT_EQ(kept, i == 2 || i == 4) << image.name;
    EXPECT_EQ(header.format, i == 4 ? ImageFormat::kPnm : ImageFormat::kJpeg);
  }
  // Worse quality, fewer bytes; and what was there is replaced on request alone.
  EXPECT_EQ(Prepare({"--max-side", "80", "--quality", "50"}).status, 2);
  ASSERT_EQ(Prepare({"--max-side", "80", "--quality", "50", "--overwrite"}).status, 0);
  EXPECT_LT(PackedImages(file()).Read(0).bytes.size(), images.Describe(0).bytes.size());
}

TEST_F(PrepareImagesTest, TheFileIsTheSameForAnyNumberOfThreads) {
  MakeFolder(30, 10);
  WriteImageFile(data() + "/train/a/bad.JPEG", "rubbish");
  const Arguments options = {"--max-side", "70", "--on-bad-image", "skip"};
  std::map<std::string, std::string> files;
  for (const char* threads : {"1", "3", "16"}) {
    Arguments more = options;
    more.insert(more.end(), {"-j", threads});
    const ProgramResult result = Prepare(more, threads);
    ASSERT_EQ(result.status, 0) << result.errors;
    files[threads] = ReadText(folder_ / threads);
  }
  EXPECT_GT(files["1"].size(), 10000u);
  EXPECT_EQ(files["3"], files["1"]);
  EXPECT_EQ(files["16"], files["1"]);
}

TEST_F(PrepareImagesTest, InfoLooksIntoThePackedFile) {
  MakeFolder(20, 9);
  WriteImageFile(data() + "/train/a/bad.JPEG", "rubbish");
  ASSERT_EQ(Prepare({"--copy", "--on-bad-image", "skip"}).status, 0);
  const auto info = [](const Arguments& dataset) {
    Arguments arguments = {"info", "--json", "--dataset"};
    arguments.insert(arguments.end(), dataset.begin(), dataset.end());
    const ProgramResult result = RunProgram(arguments);
    EXPECT_EQ(result.status, 0) << result.errors;
    const size_t end = result.output.find_last_not_of('\n');
    return nlohmann::json::parse(result.output.substr(result.output.rfind('\n', end) + 1));
  };
  fs::remove(data() + "/train/a/bad.JPEG");
  const nlohmann::json folder = info({"image-folder", "--data-dir", data()});
  nlohmann::json packed = info({"packed", "--data-dir", file()});
  EXPECT_EQ(packed["images"], 29);
  EXPECT_EQ(packed["classes"], 3);
  EXPECT_EQ(packed["unreadable"], 0);
  EXPECT_EQ(packed["left_out"], 1);
  for (const char* key : {"train", "val", "width", "height", "mean", "std"}) {
    EXPECT_EQ(packed[key], folder[key]) << key;
  }
  std::string bytes = ReadText(file());
  bytes[100] ^= 1;
  WriteText(file(), bytes);
  packed = info({"packed", "--data-dir", file()});
  EXPECT_EQ(packed["images"], 29);
  EXPECT_EQ(packed["unreadable"], 1);
}

}  // namespace
}  // namespace thinwire
