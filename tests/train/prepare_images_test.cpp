// thinwire prepare imagenet, and runs on what it packs.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "datasets/batch_pipeline.h"
#include "datasets/image_decoder.h"
#include "datasets/image_folder.h"
#include "datasets/packed_dataset.h"
#include "datasets/packed_images.h"
#include "tests/train/image_files.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

constexpr ImageOptions kSmall = {.size = 24, .resize = 28};

class PrepareImagesTest : public RunTest {
 protected:
  /// JPEGs and a few others of many sizes in three classes.
  void MakeFolder(int training, int test, int64_t side = 90) const {
    for (int i = 0; i < training + test; ++i) {
      const std::string name = std::string(i < training ? "train/" : "val/") + "cab"[i % 3] + "/" +
                               std::to_string(100 + i) + ".JPEG";
      const int64_t width = side - 7 * (i % 5), height = side - 11 * (i % 4);
      WriteImageFile(data() + "/" + name, i % 8 == 5
                                              ? MakeGrey(width, height, 40 + i)
                                              : MakeJpeg(width, height, static_cast<uint64_t>(i)));
    }
  }
  std::string data() const { return folder_.path() + "/data"; }
  std::string file() const { return folder_.path() + "/packed"; }

  ProgramResult Prepare(const Arguments& more = {}, const std::string& file = "packed") const {
    Arguments arguments = {"prepare", "imagenet", data(), folder_ / file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments);
  }
};

std::string BytesOf(const PackedImages::Image& image) {
  return {reinterpret_cast<const char*>(image.bytes.data()), image.bytes.size()};
}

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

TEST_F(PrepareImagesTest, FinishesTheSameFileAfterKills) {
  MakeFolder(60, 20, 500);
  WriteImageFile(data() + "/train/a/bad.JPEG", "rubbish");
  const Arguments options = {"--max-side", "300", "--on-bad-image", "skip"};
  ASSERT_EQ(Prepare(options, "whole").status, 0);
  Arguments command = {"prepare", "imagenet", data(), file()};
  command.insert(command.end(), options.begin(), options.end());
  int kills = 0;
  std::set<uintmax_t> sizes;  // of what was there when a kill came
  for (int milliseconds = 5; !fs::exists(file()) && kills < 100; milliseconds += 25) {
    Program program(command);
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    program.Signal(SIGKILL);
    program.Wait();
    ++kills;
    std::error_code missing;
    const uintmax_t size = fs::file_size(file() + ".part", missing);
    if (!missing) sizes.insert(size);
    if (sizes.size() == 5) break;
  }
  if (!fs::exists(file())) {
    const ProgramResult result = RunProgram(command);
    ASSERT_EQ(result.status, 0) << result.errors;
    EXPECT_NE(result.output.find("were there already"), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("left out 1"), std::string::npos) << result.output;
  }
  EXPECT_GT(sizes.size(), 1u);
  EXPECT_EQ(ReadText(file()), ReadText(folder_ / "whole"));
  EXPECT_FALSE(fs::exists(file() + ".part"));
  EXPECT_FALSE(fs::exists(file() + ".part.journal"));
}

TEST_F(PrepareImagesTest, AChangedImageIsPackedAnew) {
  MakeFolder(12, 3);
  const std::string first = data() + "/train/a/101.JPEG", content = MakeJpeg(40, 30, 1, 3);
  WriteText(first, MakeJpeg(40, 30, 1, 2));
  ASSERT_EQ(fs::file_size(first), content.size());
  ASSERT_EQ(RunProgram({"prepare", "imagenet", data(), file()}, /*file_size_limit=*/20'000).status,
            1);
  ASSERT_GT(fs::file_size(file() + ".part"), content.size());
  WriteText(first, content);
  ASSERT_EQ(Prepare().status, 0);
  EXPECT_EQ(BytesOf(PackedImages(file()).Read(0)), content);
}

TEST_F(PrepareImagesTest, BadFilesStopItOrAreLeftOut) {
  MakeFolder(12, 6);
  const std::string cut = MakeJpeg(60, 60, 5).substr(0, 900);
  WriteImageFile(data() + "/train/a/cut.JPEG", cut);
  ExpectFailure(Prepare(), 1, {"train/a/cut.JPEG", "end early", "--on-bad-image skip"});
  EXPECT_FALSE(fs::exists(file()));
  WriteImageFile(data() + "/train/b/empty.JPEG", "");
  WriteImageFile(data() + "/val/a/notes.txt", "not an image");
  WriteImageFile(data() + "/val/a/huge.ppm", "P6 60000 60000 255\nx");
  fs::create_symlink("nowhere", data() + "/val/b/link");
  WriteImageFile(data() + "/val/stranger/1.JPEG", MakeJpeg(9, 9, 1));
  ExpectFailure(Prepare(), 1, {"link", "leads nowhere", "--on-bad-image skip"});
  const ProgramResult result = Prepare({"--on-bad-image", "skip"});
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("Packed 18 images in 3 classes"), std::string::npos);
  EXPECT_NE(result.output.find("left out 6"), std::string::npos) << result.output;
  const PackedImages images(file());
  EXPECT_EQ(images.count(), 18);
  ASSERT_EQ(images.left_out().size(), 6u);
  std::string reasons;
  for (const auto& left_out : images.left_out()) reasons += std::string(left_out.reason) + "\n";
  for (const char* word : {"train/a/cut.JPEG: its data end early", "empty.JPEG: it is empty",
                           "notes.txt", "huge.ppm", "--max-pixels", "link", "class stranger"}) {
    EXPECT_NE(reasons.find(word), std::string::npos) << word << " is not in: " << reasons;
    EXPECT_NE(result.errors.find(word), std::string::npos) << word;
  }
  EXPECT_EQ(LoadPacked(file(), kSmall, Split::kTrain).left_out.size(), 2u);
  EXPECT_EQ(LoadPacked(file(), kSmall, Split::kTest).left_out.size(), 4u);
}

TEST_F(PrepareImagesTest, LeavingOutIsNotForgotten) {
  MakeFolder(12, 3);
  WriteImageFile(data() + "/train/a/bad.JPEG", "rubbish");
  const std::string last = data() + "/val/c/112.JPEG";
  ASSERT_TRUE(fs::exists(last));
  // As a call that was killed behind the bad image.
  Arguments command = {"prepare", "imagenet", data(), file(), "--on-bad-image", "skip"};
  ASSERT_EQ(RunProgram(command, /*file_size_limit=*/20000).status, 1);
  ASSERT_TRUE(fs::exists(file() + ".part"));
  ExpectFailure(Prepare(), 1, {"left 1 images out", "--on-bad-image skip"});
  EXPECT_EQ(RunProgram(command).status, 0);
}

TEST_F(PrepareImagesTest, NothingThatCanBeRead) {
  WriteImageFile(data() + "/a/1.JPEG", "rubbish");
  ExpectFailure(Prepare({"--on-bad-image", "fail"}), 1, {"a/1.JPEG"});
  const ProgramResult result = Prepare({"--on-bad-image", "skip"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.errors.find("none of the images"), std::string::npos) << result.errors;
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(PrepareImagesTest, AFullDisk) {
  MakeFolder(12, 3, 300);
  const ProgramResult result =
      RunProgram({"prepare", "imagenet", data(), file()}, /*file_size_limit=*/100'000);
  ExpectFailure(result, 1, {file() + ".part"});
  EXPECT_FALSE(fs::exists(file()));
  EXPECT_EQ(RunProgram({"prepare", "imagenet", data(), file()}).status, 0);
}

TEST_F(PrepareImagesTest, WrongUsage) {
  MakeFolder(6, 3);
  ExpectFailure(Prepare({"--copy", "--max-side", "80"}), 2, {"--copy", "--max-side"});
  ExpectFailure(Prepare({"--quality", "101"}), 2, {"--quality"});
  ExpectFailure(Prepare({"--max-side", "0"}), 2, {"--max-side"});
  ExpectFailure(Prepare({"--on-bad-image", "ignore"}), 2, {"--on-bad-image"});
  ExpectFailure(RunProgram({"prepare", "cifar10", data(), file(), "--quality", "80"}), 2,
                {"--quality", "cifar10"});
  fs::remove_all(data() + "/val");
  ExpectFailure(Prepare(), 1, {"train", "val"});
  EXPECT_FALSE(fs::exists(file() + ".part"));

  MakeFolder(6, 3);
  ASSERT_EQ(Prepare().status, 0);
  const Arguments train = {"train", "--dataset", "packed",        "--data-dir",
                           file(),  "--output",  folder_ / "run", "--model"};
  const auto with = [&](Arguments more) {
    more.insert(more.begin(), train.begin(), train.end());
    return RunProgram(more);
  };
  ExpectFailure(with({"logreg"}), 2, {"image-folder", "logreg"});
  ExpectFailure(with({"mlp", "--cutout", "4"}), 2, {"cutout"});
  ExpectFailure(with({"mlp", "--train-files", "x"}), 2, {"train-files", "packed"});
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

TEST_F(PrepareImagesTest, ADamagedImageIsFound) {
  MakeFolder(6, 3);
  ASSERT_EQ(Prepare({"--copy"}).status, 0);
  std::string bytes = ReadText(file());
  bytes[100] ^= 1;
  WriteText(file(), bytes);
  const Arguments command = {"train",      "--model",  "mlp",        "--dataset", "packed",
                             "--data-dir", file(),     "--img-size", "24",        "--batch-size",
                             "6",          "--epochs", "1",          "--output",  folder_ / "run"};
  ExpectFailure(RunProgram(command), 1, {file(), "train/a/", "is damaged"});
  Arguments skipping = command;
  skipping.insert(skipping.end(), {"--on-bad-image", "skip", "--output", folder_ / "other"});
  const ProgramResult result = RunProgram(skipping);
  EXPECT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("1 training images could not be read"), std::string::npos)
      << result.output;
}

}  // namespace
}  // namespace thinwire
