// Runs of the program on folders of images.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class ImageFolderRunTest : public RunTest {
 protected:
  /// Grey images in two classes, dark and light, as PNM files of some other name.
  void SetUp() override {
    for (int i = 0; i < 26; ++i) {
      const bool light = i % 2 != 0;
      const std::string name =
          std::string(light ? "light/" : "dark/") + std::to_string(i) + ".JPEG";
      if (i < 16) WriteImage("train/" + name, light ? 200 + i : 30 + i);
      WriteImage("val/" + name, light ? 180 + i : 50 + i);
    }
  }
  void Write(const std::string& name, const std::string& content) const {
    const fs::path path = data() + "/" + name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  void WriteImage(const std::string& name, int level) const {
    Write(name, "P6 12 9 255\n" + std::string(12 * 9 * 3, static_cast<char>(level)));
  }
  std::string data() const { return folder_.path() + "/data"; }
  std::string run(const std::string& name) const { return folder_.path() + "/" + name; }

  ProgramResult Train(const std::string& name, const Arguments& more = {}) const {
    Arguments arguments = {"train",
                           "--model",
                           "mlp",
                           "--dataset",
                           "image-folder",
                           "--data-dir",
                           data(),
                           "--img-size",
                           "8",
                           "--batch-size",
                           "4",
                           "--epochs",
                           "2",
                           "--lr",
                           "0.01",
                           "--threads",
                           "1",
                           "--log-interval",
                           "1",
                           "--output",
                           run(name)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments);
  }
  static nlohmann::json LastLine(const std::string& output) {
    const size_t end = output.find_last_not_of('\n');
    return nlohmann::json::parse(output.substr(output.rfind('\n', end) + 1));
  }

  TemporaryFolder folder_;
};

TEST_F(ImageFolderRunTest, TrainsEvaluatesAndResumes) {
  const ProgramResult result = Train("a");
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("image-folder, 16 training and 26 test images"), std::string::npos)
      << result.output;
  EXPECT_EQ(ReadText(run("a") + "/classes.txt"), "dark\nlight\n");
  const ProgramResult eval = RunProgram({"eval", run("a"), "--json"});
  ASSERT_EQ(eval.status, 0) << eval.errors;
  EXPECT_EQ(LastLine(eval.output)["total"], 26);

  // The same, stopped after one epoch and a half.
  ASSERT_EQ(Train("b", {"--max-steps", "6"}).status, 0);
  ASSERT_EQ(Train("b", {"--resume", "auto", "--max-steps", "0"}).status, 0);
  EXPECT_EQ(WithoutTimes(Steps(run("a"))), WithoutTimes(Steps(run("b"))));
}

TEST_F(ImageFolderRunTest, EveryRankTakesItsPart) {
  for (const char* workers : {"1", "2", "4"}) {
    const std::string name = std::string("ranks") + workers;
    const ProgramResult result =
        Train(name, {"--workers", workers, "--batch-size", std::to_string(8 / std::stoi(workers))});
    ASSERT_EQ(result.status, 0) << result.errors;
    const auto steps = Steps(run(name));
    ASSERT_EQ(steps.size(), 4u) << workers;  // two batches of eight, twice
  }
  // The same images in the same batches: ranks add up in another order only.
  const auto one = Steps(run("ranks1"));
  for (const char* name : {"ranks2", "ranks4"}) {
    const auto other = Steps(run(name));
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_NEAR(other[i]["loss"].get<double>(), one[i]["loss"].get<double>(), 1e-3) << name;
    }
  }
}

TEST_F(ImageFolderRunTest, BadFilesStopARunOrAreLeftOut) {
  Write("train/dark/bad.JPEG", "P6 12 9 255\nshort");
  Write("val/light/bad.JPEG", "");
  const Arguments whole_epoch = {"--batch-size", "17"};
  ExpectFailure(Train("a", whole_epoch), 1, {"train/dark/bad.JPEG", "--on-bad-image skip"});
  Arguments skipping = whole_epoch;
  skipping.insert(skipping.end(), {"--on-bad-image", "skip"});
  const ProgramResult result = Train("b", skipping);
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.errors.find("train/dark/bad.JPEG"), std::string::npos) << result.errors;
  EXPECT_NE(result.output.find("1 training images could not be read"), std::string::npos)
      << result.output;
  EXPECT_NE(result.output.find("1 test images could not be read"), std::string::npos);
  const ProgramResult eval = RunProgram({"eval", run("b"), "--json"});
  ASSERT_EQ(eval.status, 0) << eval.errors;
  EXPECT_EQ(LastLine(eval.output)["total"], 26);

  fs::create_directory(data() + "/val/other");
  WriteImage("val/other/1.png", 3);
  ExpectFailure(Train("c"), 1, {"class other", "not among the training images"});
}

TEST_F(ImageFolderRunTest, InfoCountsWhatCannotBeRead) {
  const Arguments info = {"info", "--dataset", "image-folder", "--data-dir", data(), "--json"};
  nlohmann::json line = LastLine(RunProgram(info).output);
  EXPECT_EQ(line["images"], 42);
  EXPECT_EQ(line["classes"], 2);
  EXPECT_EQ(line["unreadable"], 0);
  Write("train/dark/bad.JPEG", "P6 12 9 255\nshort");
  Write("val/light/bad.JPEG", "");
  Write("val/light/notes.txt", "notes");
  fs::create_symlink("nowhere", data() + "/val/light/link");
  const ProgramResult result = RunProgram(info);
  EXPECT_EQ(result.status, 0) << result.errors;
  line = LastLine(result.output);
  EXPECT_EQ(line["images"], 45);
  EXPECT_EQ(line["unreadable"], 4);
  for (const char* name : {"bad.JPEG", "notes.txt", "link"}) {
    EXPECT_NE(result.output.find(name), std::string::npos) << name;
  }
}

TEST_F(ImageFolderRunTest, InfoMeasuresTheTrainingImages) {
  // Every image has one grey level.
  const nlohmann::json line = LastLine(
      RunProgram({"info", "--dataset", "image-folder", "--data-dir", data(), "--json"}).output);
  EXPECT_EQ(line["width"], nlohmann::json({12, 12}));
  EXPECT_EQ(line["height"], nlohmann::json({9, 9}));
  double sum = 0, squares = 0;
  for (int i = 0; i < 16; ++i) {
    const double value = (i % 2 != 0 ? 200 + i : 30 + i) / 255.0;
    sum += value;
    squares += value * value;
  }
  ASSERT_EQ(line["mean"].size(), 3u);
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(line["mean"][c].get<double>(), sum / 16, 1e-12);
    EXPECT_NEAR(line["std"][c].get<double>(), std::sqrt(squares / 16 - sum / 16 * (sum / 16)),
                1e-12);
  }
}

TEST_F(ImageFolderRunTest, WhatIsKeptInMemoryChangesNothing) {
  const ProgramResult plain = Train("a"), kept = Train("b", {"--cache", "ram"}),
                      limited = Train("c", {"--cache", "ram", "--cache-limit", "3e-6"});
  ASSERT_EQ(kept.status, 0) << kept.errors;
  EXPECT_EQ(WithoutTimes(Steps(run("b"))), WithoutTimes(Steps(run("a"))));
  EXPECT_EQ(WithoutTimes(Steps(run("c"))), WithoutTimes(Steps(run("a"))));
  EXPECT_EQ(plain.output.find("kept in memory"), std::string::npos);
  EXPECT_NE(kept.output.find("16 of 16 training and 26 of 26 test images are kept in memory"),
            std::string::npos)
      << kept.output;
  EXPECT_EQ(kept.output.find("no room"), std::string::npos);
  EXPECT_NE(limited.output.find("there is no room for more"), std::string::npos) << limited.output;
  ExpectFailure(Train("d", {"--cache", "disk"}), 2, {"--cache", "ram"});
}

TEST_F(ImageFolderRunTest, RefusesSettingsThatDoNotFit) {
  ExpectFailure(Train("a", {"--model", "logreg"}), 2, {"image-folder", "logreg"});
  ExpectFailure(Train("a", {"--cutout", "4"}), 2, {"cutout", "image-folder"});
  ExpectFailure(Train("a", {"--val-resize-size", "7"}), 2, {"val-resize-size", "img-size"});
  ExpectFailure(Train("a", {"--crop-scale", "0.5"}), 2, {"crop-scale"});
  ExpectFailure(Train("a", {"--randaugment", "2"}), 2, {"randaugment", "2,9"});
  ExpectFailure(Train("a", {"--randaugment", "2,31"}), 2, {"randaugment", "0 to 30"});
  ExpectFailure(RunProgram({"train", "--color-jitter", "0.4"}), 2, {"color-jitter", "shapes"});
  ExpectFailure(Train("a", {"--max-pixels", "100"}), 1, {"--max-pixels 100", "12x9"});
  fs::remove_all(data() + "/val");
  ExpectFailure(Train("b"), 1, {"train", "val"});
}

}  // namespace
}  // namespace thinwire
