// thinwire prepare, and runs on what it packs.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "kernels/random.h"
#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

class PrepareTest : public RunTest {
 protected:
  /// A folder as CIFAR-10's, with few images.
  std::string MakeCifar(int64_t training, int64_t test) {
    const std::string folder = folder_ / "cifar";
    std::filesystem::create_directory(folder);
    const auto write = [&](const std::string& name, int64_t count) {
      RandomStream random(3, static_cast<uint64_t>(count));
      std::ofstream file(folder + "/" + name, std::ios::binary);
      for (int64_t i = 0; i < count; ++i) {
        file.put(static_cast<char>(random.Below(10)));
        for (int64_t j = 0; j < 3072; ++j) file.put(static_cast<char>(random.Next()));
      }
    };
    for (int i = 1; i <= 5; ++i) write("data_batch_" + std::to_string(i) + ".bin", training / 5);
    write("test_batch.bin", test);
    return folder;
  }
};

TEST_F(PrepareTest, ARunOnThePackedFileIsTheSame) {
  const std::string folder = MakeCifar(160, 20), file = folder_ / "cifar10.packed";
  const ProgramResult prepared = RunProgram({"prepare", "cifar10", folder, file});
  ASSERT_EQ(prepared.status, 0) << prepared.errors;
  EXPECT_NE(prepared.output.find("160 training and 20 test images of cifar10"), std::string::npos);

  const auto train = [&](const std::string& output, const Arguments& data) {
    Arguments arguments = {"train", "--model",  "mlp", "--batch-size",   "32", "--threads",
                           "1",     "--epochs", "2",   "--log-interval", "1",  "--output",
                           output};
    arguments.insert(arguments.end(), data.begin(), data.end());
    const ProgramResult result = RunProgram(arguments);
    EXPECT_EQ(result.status, 0) << result.errors;
    return WithoutTimes(Steps(output));
  };
  // The usual augmentation and normalisation are CIFAR-10's either way.
  const auto expected = train(folder_ / "a", {"--dataset", "cifar10", "--data-dir", folder});
  const auto steps = train(folder_ / "b", {"--dataset", "packed", "--data-dir", file});
  ASSERT_EQ(steps.size(), 10u);
  EXPECT_EQ(steps, expected);
}

TEST_F(PrepareTest, FinishesTheSameFileAfterKills) {
  const std::string folder = MakeCifar(5000, 1000), whole = folder_ / "whole",
                    file = folder_ / "file";
  ASSERT_EQ(RunProgram({"prepare", "cifar10", folder, whole}).status, 0);
  const Arguments command = {"prepare", "cifar10", folder, file};
  int kills = 0, resumed = 0;
  for (int milliseconds = 8; kills < 200 && !std::filesystem::exists(file); milliseconds += 4) {
    Program program(command);
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    program.Signal(SIGKILL);
    program.Wait();
    ++kills;
    if (std::filesystem::exists(file + ".part") &&
        std::filesystem::file_size(file + ".part") > 64) {
      ++resumed;
    }
    if (resumed == 3) break;
  }
  if (!std::filesystem::exists(file)) {
    EXPECT_GT(resumed, 0);
    const ProgramResult result = RunProgram(command);
    ASSERT_EQ(result.status, 0) << result.errors;
    EXPECT_NE(result.output.find("were there already"), std::string::npos) << result.output;
  }
  EXPECT_EQ(ReadText(file), ReadText(whole));
  EXPECT_FALSE(std::filesystem::exists(file + ".part"));
}

TEST_F(PrepareTest, WrongUsage) {
  const std::string folder = MakeCifar(5, 1), file = folder_ / "file";
  ExpectFailure(RunProgram({"prepare"}), 2, {"thinwire prepare DATASET FOLDER FILE"});
  ExpectFailure(RunProgram({"prepare", "cifar1", folder, file}), 2, {"cifar1", "cifar10"});
  ExpectFailure(RunProgram({"prepare", "cifar10", folder, file, "more"}), 2, {"more"});
  ExpectFailure(RunProgram({"prepare", "cifar10", folder_ / "nowhere", file}), 2, {"nowhere"});
  EXPECT_FALSE(std::filesystem::exists(file + ".part"));
  ASSERT_EQ(RunProgram({"prepare", "cifar10", folder, file}).status, 0);
  ExpectFailure(RunProgram({"prepare", "cifar10", folder, file}), 2, {file, "--overwrite"});
  EXPECT_EQ(RunProgram({"prepare", "cifar10", folder, file, "--overwrite"}).status, 0);
}

TEST_F(PrepareTest, ADamagedFileIsRefused) {
  const std::string folder = MakeCifar(5, 1), file = folder_ / "file";
  ASSERT_EQ(RunProgram({"prepare", "cifar10", folder, file}).status, 0);
  std::string bytes = ReadText(file);
  bytes[5000] ^= 1;
  std::ofstream(file, std::ios::binary) << bytes;
  ExpectFailure(RunProgram({"train", "--model", "mlp", "--dataset", "packed", "--data-dir", file,
                            "--output", folder_ / "run"}),
                1, {file, "train/1 is damaged"});
}

}  // namespace
}  // namespace thinwire
