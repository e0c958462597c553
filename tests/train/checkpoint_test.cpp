#include "train/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/train/temporary_folder.h"
#include "train/atomic_file.h"
#include "kernels/crc32c.h"

namespace thinwire {
namespace {

Checkpoint Example() {
  Checkpoint checkpoint;
  checkpoint.integers = {{"step", 123},
                         {"least", std::numeric_limits<int64_t>::min()},
                         {"most", std::numeric_limits<int64_t>::max()}};
  checkpoint.numbers = {{"best_top1", 0.1}, {"tiny", 5e-324}, {"minus zero", -0.0}};
  checkpoint.strings = {{"model", "resnet20"}, {"", ""}, {"bytes", std::string("\0\n\xFF", 3)}};
  for (const size_t size : {0u, 1u, 31u, 32u, 33u, 127u, 10007u}) {
    std::vector<float> values(size);
    for (size_t i = 0; i < size; ++i) values[i] = std::ldexp(static_cast<float>(i), -20);
    checkpoint.vectors["vector " + std::to_string(size)] = values;
  }
  checkpoint.vectors["specials"] = {NAN,   -NAN,   INFINITY,
                                    -0.0f, 1e-45f, std::bit_cast<float>(0x7FA12345u)};
  return checkpoint;
}

void ExpectSame(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.integers, b.integers);
  EXPECT_EQ(a.strings, b.strings);
  ASSERT_EQ(a.numbers.size(), b.numbers.size());
  for (const auto& [name, number] : a.numbers) {
    EXPECT_EQ(std::bit_cast<uint64_t>(number), std::bit_cast<uint64_t>(b.numbers.at(name))) << name;
  }
  ASSERT_EQ(a.vectors.size(), b.vectors.size());
  for (const auto& [name, vector] : a.vectors) {
    const std::vector<float>& other = b.vectors.at(name);
    ASSERT_EQ(vector.size(), other.size()) << name;
    for (size_t i = 0; i < vector.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(vector[i]), std::bit_cast<uint32_t>(other[i])) << name;
    }
  }
}

/// With the checksum that belongs to what was changed.
void Reseal(std::vector<std::byte>& bytes) {
  const uint32_t crc = Crc32c(std::span(bytes).first(bytes.size() - 4));
  std::memcpy(bytes.data() + bytes.size() - 4, &crc, 4);
}

Checkpoint ParseText(const std::string& text) {
  return ParseCheckpoint(std::as_bytes(std::span(text)), "file.ckpt");
}

Checkpoint AtStep(int64_t step) {
  Checkpoint checkpoint;
  checkpoint.integers["step"] = step;
  checkpoint.vectors["x"] = {static_cast<float>(step)};
  return checkpoint;
}

TEST(Checkpoint, RoundTripsBitForBit) {
  ExpectSame(ParseCheckpoint(SerializeCheckpoint(Example()), "x"), Example());
  ExpectSame(ParseCheckpoint(SerializeCheckpoint({}), "x"), {});
  EXPECT_EQ(SerializeCheckpoint(Example()), SerializeCheckpoint(Example()));
}

TEST(Checkpoint, FileIsTheSerializedForm) {
  const TemporaryFolder folder;
  WriteCheckpoint(folder / "x.ckpt", Example());
  EXPECT_EQ(ReadFile(folder / "x.ckpt"), SerializeCheckpoint(Example()));
  ExpectSame(ReadCheckpoint(folder / "x.ckpt"), Example());
}

// Assembled by hand from the format's description.
TEST(Checkpoint, ReadsAnExample) {
  std::string text("THINWIRE\1\0\0\0\0\0\0\0", 16);
  const auto add = [&text](auto value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  add(uint64_t{8 + (8 + 1 + 8) + 8 + 8 + (8 + 1 + 8 + 2) + 8 + (8 + 1 + 8)});
  add(uint64_t{4});
  add(uint64_t{1}), add(uint64_t{1}), text += 'i', add(int64_t{-7});
  add(uint64_t{0});
  add(uint64_t{1}), add(uint64_t{1}), text += 's', add(uint64_t{2}), text += "ok";
  add(uint64_t{1}), add(uint64_t{1}), text += 'v', add(uint64_t{1});
  add(1.5f);
  add(Crc32c(std::as_bytes(std::span(text))));
  const Checkpoint checkpoint = ParseText(text);
  EXPECT_EQ(checkpoint.integers.at("i"), -7);
  EXPECT_EQ(checkpoint.strings.at("s"), "ok");
  EXPECT_EQ(checkpoint.vectors.at("v"), std::vector<float>{1.5f});
  EXPECT_EQ(SerializeCheckpoint(checkpoint).size(), text.size());
}

TEST(Checkpoint, EveryCutAndEveryFlippedByteIsNoticed) {
  Checkpoint small = AtStep(3);
  small.strings["model"] = "mlp";
  const std::vector<std::byte> good = SerializeCheckpoint(small);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THROW(ParseCheckpoint(std::span(good).first(size), "x"), Error) << size;
  }
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      std::vector<std::byte> bad = good;
      bad[i] ^= static_cast<std::byte>(1 << bit);
      EXPECT_THROW(ParseCheckpoint(bad, "x"), Error) << i;
    }
  }
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  EXPECT_THROW(ParseCheckpoint(longer, "x"), Error);
}

TEST(Checkpoint, SensibleErrorsBehindARightChecksum) {
  const std::vector<std::byte> good = SerializeCheckpoint(AtStep(3));
  // Any 64-bit word of the header, made huge: counts and lengths must not be believed.
  for (size_t i = 32; i + 12 <= good.size(); ++i) {
    std::vector<std::byte> bad = good;
    std::memset(bad.data() + i, 0xFF, 8);
    Reseal(bad);
    try {
      ParseCheckpoint(bad, "x");  // fine where the word was a value
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("it is damaged"), std::string::npos);
    }
  }
  Checkpoint two;
  two.integers = {{"a", 1}, {"b", 2}};
  std::vector<std::byte> unsorted = SerializeCheckpoint(two);
  unsorted[32 + 8 + 8] = std::byte{'b'};
  Reseal(unsorted);
  EXPECT_ERROR(ParseCheckpoint(unsorted, "x"), "not sorted");
}

TEST(Checkpoint, NewerVersion) {
  std::vector<std::byte> bytes = SerializeCheckpoint(Example());
  bytes[8] = std::byte{3};
  Reseal(bytes);
  EXPECT_ERROR(ParseCheckpoint(bytes, "file.ckpt"), "cannot read checkpoint file.ckpt");
  EXPECT_ERROR(ParseCheckpoint(bytes, "file.ckpt"), "version 3");
  EXPECT_ERROR(ParseCheckpoint(bytes, "file.ckpt"), "newer thinwire");
}

TEST(Checkpoint, NamesForeignFiles) {
  EXPECT_ERROR(ParseText(std::string("PK\x03\x04", 4) + "..."), "a PyTorch file");
  EXPECT_ERROR(ParseText("\x80\x02}q"), "a PyTorch file");
  EXPECT_ERROR(ParseText("\x89HDF\r\n"), "an HDF5 file");
  EXPECT_ERROR(ParseText("\x93NUMPY"), "a NumPy array");
  EXPECT_ERROR(ParseText(std::string("\x08\0\0\0\0\0\0\0{}      ", 16)), "a safetensors file");
  EXPECT_ERROR(ParseText("model = 'resnet20'\n"), "not a checkpoint of thinwire");
  EXPECT_ERROR(ParseText(""), "cut short at 0 bytes");
  EXPECT_ERROR(ParseText("THIN"), "cut short at 4 bytes");
}

TEST(CheckpointFolder, KeepsTheLastOnes) {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder / "a/b", 2);
  for (const int64_t step : {5, 10, 15}) {
    const std::string path = checkpoints.Save(AtStep(step), step == 10);
    EXPECT_EQ(ReadCheckpoint(path).integers.at("step"), step);
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "a/b")) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names,
            (std::vector<std::string>{"best.ckpt", "step-00000010.ckpt", "step-00000015.ckpt"}));
  EXPECT_EQ(ReadCheckpoint(folder / "a/b/best.ckpt").integers.at("step"), 10);

  std::vector<std::string> skipped;
  std::string path;
  EXPECT_EQ(checkpoints.LoadNewest(&skipped, &path)->integers.at("step"), 15);
  EXPECT_EQ(path, folder / "a/b/step-00000015.ckpt");
  EXPECT_TRUE(skipped.empty());
}

TEST(CheckpointFolder, BestOutlivesItsStepAndIsReplaced) {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path(), 1);
  checkpoints.Save(AtStep(1), true);
  checkpoints.Save(AtStep(2), false);
  EXPECT_EQ(ReadCheckpoint(folder / "best.ckpt").integers.at("step"), 1);
  checkpoints.Save(AtStep(3), true);
  checkpoints.Save(AtStep(3), true);
  EXPECT_EQ(ReadCheckpoint(folder / "best.ckpt").integers.at("step"), 3);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"best.ckpt", "step-00000003.ckpt"}));
}

TEST(CheckpointFolder, SkipsDamagedOnes) {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path(), 3);
  checkpoints.Save(AtStep(1), true);
  checkpoints.Save(AtStep(2), false);
  checkpoints.Save(AtStep(3), false);
  std::filesystem::resize_file(folder / "step-00000003.ckpt", 40);
  std::vector<std::string> skipped;
  EXPECT_EQ(checkpoints.LoadNewest(&skipped)->integers.at("step"), 2);
  ASSERT_EQ(skipped.size(), 1u);
  EXPECT_NE(skipped[0].find("step-00000003.ckpt: it is damaged"), std::string::npos) << skipped[0];

  // All steps damaged: best.ckpt is what is left. A copy, since it is a link to step 1.
  std::filesystem::copy_file(folder / "best.ckpt", folder / "copy");
  WriteText(folder / "step-00000001.ckpt", "");
  WriteText(folder / "step-00000002.ckpt", "");
  std::filesystem::rename(folder / "copy", folder / "best.ckpt");
  EXPECT_EQ(checkpoints.LoadNewest(nullptr)->integers.at("step"), 1);

  WriteText(folder / "best.ckpt", "");
  skipped.clear();
  EXPECT_FALSE(checkpoints.LoadNewest(&skipped).has_value());
  EXPECT_EQ(skipped.size(), 4u);
}

TEST(CheckpointFolder, ANewRunHasNothing) {
  const TemporaryFolder folder;
  std::vector<std::string> skipped;
  EXPECT_FALSE(CheckpointFolder(folder / "none", 1).LoadNewest(&skipped).has_value());
  EXPECT_FALSE(CheckpointFolder(folder.path(), 1).LoadNewest(&skipped).has_value());
  EXPECT_TRUE(skipped.empty());
  EXPECT_ERROR(CheckpointFolder(folder.path(), 0), "must be 1 or more");
}

// Were later files kept, a run that went back past a damaged file would delete its own good ones
// and later resume from the damaged one's future.
TEST(CheckpointFolder, TurningBackForgetsTheFuture) {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path(), 2);
  checkpoints.Save(AtStep(10), false);
  checkpoints.Save(AtStep(20), false);
  checkpoints.Save(AtStep(15), false);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"step-00000010.ckpt", "step-00000015.ckpt"}));
}

TEST(CheckpointFolder, OrdersByNumberAndLeavesOtherFilesAlone) {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path(), 2);
  for (const char* name : {"notes.txt", "step-x.ckpt", "step-.ckpt", "step--1.ckpt"}) {
    WriteText(folder / name, "mine");
  }
  WriteText(folder / "step-00000007.ckpt.part", "left by a killed process");
  checkpoints.Save(AtStep(99999999), false);
  checkpoints.Save(AtStep(100000000), false);
  EXPECT_EQ(checkpoints.LoadNewest(nullptr)->integers.at("step"), 100000000);
  EXPECT_EQ(folder.names(),
            (std::vector<std::string>{"notes.txt", "step--1.ckpt", "step-.ckpt",
                                      "step-100000000.ckpt", "step-99999999.ckpt", "step-x.ckpt"}));
}

TEST(CheckpointFolder, AFailedSaveDeletesNothing) {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path(), 1);
  checkpoints.Save(AtStep(1), true);
  std::filesystem::create_directory(folder / "step-00000002.ckpt.part");
  EXPECT_ERROR(checkpoints.Save(AtStep(2), true), "cannot write");
  EXPECT_EQ(checkpoints.LoadNewest(nullptr)->integers.at("step"), 1);
  EXPECT_EQ(ReadCheckpoint(folder / "best.ckpt").integers.at("step"), 1);

  WriteText(folder / "file", "");
  EXPECT_ERROR(CheckpointFolder(folder / "file", 1).Save(AtStep(1), false), "cannot make folder");
}

}  // namespace
}  // namespace thinwire
