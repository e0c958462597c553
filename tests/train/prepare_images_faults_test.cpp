// thinwire prepare imagenet where something goes wrong: kills, bad files, full disks, wrong flags.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "datasets/packed_dataset.h"
#include "datasets/packed_images.h"
#include "tests/train/image_files.h"
#include "tests/train/prepare_images_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

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
  EXPECT_EQ(LoadPacked(file(), {}, Split::kTrain).left_out.size(), 2u);
  EXPECT_EQ(LoadPacked(file(), {}, Split::kTest).left_out.size(), 4u);
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
