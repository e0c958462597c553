// The packed file, written and read: what was put in comes out, damage is found, and a killed
// writer's work is finished to the same bytes.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "datasets/packed_images.h"
#include "kernels/crc32c.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "tests/train/temporary_folder.h"
#include "train/atomic_file.h"
#include "train/packed_writer.h"

namespace thinwire {
namespace {

constexpr int64_t kItems = 60;
const std::vector<std::string> kClasses = {"cat", "", "dog"};

std::vector<std::byte> BytesOfItem(int64_t i) {
  RandomStream random(9, static_cast<uint64_t>(i));
  std::vector<std::byte> bytes(i % 7 == 3 ? 0 : static_cast<size_t>(random.Below(5000)));
  if (i % 5 == 0) bytes.resize(2 * 3 * 4);  // bare pixels
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next());
  return bytes;
}

std::string NameOfItem(int64_t i) { return "folder/image " + std::to_string(i) + ".JPEG"; }
PackedSplit SplitOfItem(int64_t i) {
  return i < 20 ? PackedSplit::kTrain : i < 40 ? PackedSplit::kTest : PackedSplit::kBoth;
}
bool IsLeftOut(int64_t i) { return i % 11 == 4; }

/// Goes on up to `end` items.
void WriteItems(PackedWriter& writer, int64_t end) {
  while (writer.position() < end) {
    const int64_t i = writer.position();
    if (IsLeftOut(i)) {
      writer.LeaveOut(NameOfItem(i), "it is truncated", SplitOfItem(i));
      continue;
    }
    const std::vector<std::byte> bytes = BytesOfItem(i);
    const bool bare = i % 5 == 0;
    writer.Append({.bytes = bytes,
                   .label = static_cast<int32_t>(i % 3),
                   .split = SplitOfItem(i),
                   .name = NameOfItem(i),
                   .height = bare ? 2 : 0,
                   .width = bare ? 3 : 0,
                   .channels = bare ? 4 : 0});
  }
}

class PackedTest : public ::testing::Test {
 protected:
  std::vector<std::byte> WriteWhole(const std::string& name) {
    PackedWriter writer(folder_ / name, "items", "animals", kClasses);
    WriteItems(writer, kItems);
    writer.Commit();
    return ReadFile(folder_ / name);
  }
  bool Exists(const std::string& name) { return std::filesystem::exists(folder_ / name); }

  TemporaryFolder folder_;
};

void ExpectItems(const PackedImages& images) {
  EXPECT_EQ(images.kind(), "animals");
  EXPECT_EQ(images.classes(), (std::vector<std::string_view>{"cat", "", "dog"}));
  int64_t found = 0, left_out = 0;
  for (int64_t i = 0; i < kItems; ++i) {
    if (IsLeftOut(i)) {
      ASSERT_LT(left_out, std::ssize(images.left_out()));
      EXPECT_EQ(images.left_out()[static_cast<size_t>(left_out)].name, NameOfItem(i));
      EXPECT_EQ(images.left_out()[static_cast<size_t>(left_out)].split, SplitOfItem(i));
      EXPECT_EQ(images.left_out()[static_cast<size_t>(left_out++)].reason, "it is truncated");
      continue;
    }
    ASSERT_LT(found, images.count());
    const PackedImages::Image image = images.Read(found++);
    const std::vector<std::byte> bytes = BytesOfItem(i);
    EXPECT_TRUE(std::equal(image.bytes.begin(), image.bytes.end(), bytes.begin(), bytes.end()));
    EXPECT_EQ(image.label, i % 3);
    EXPECT_EQ(image.split, SplitOfItem(i));
    EXPECT_EQ(image.name, NameOfItem(i));
    EXPECT_EQ(image.height, i % 5 == 0 ? 2 : 0);
    EXPECT_EQ(image.channels, i % 5 == 0 ? 4 : 0);
  }
  EXPECT_EQ(found, images.count());
  EXPECT_EQ(left_out, std::ssize(images.left_out()));
}

TEST_F(PackedTest, WhatWasPutInComesOut) {
  WriteWhole("packed");
  ExpectItems(PackedImages(folder_ / "packed"));
  EXPECT_FALSE(Exists("packed.part"));
  EXPECT_FALSE(Exists("packed.part.journal"));
}

TEST_F(PackedTest, NoImages) {
  PackedWriter(folder_ / "packed", "nothing", "", {}).Commit();
  EXPECT_EQ(PackedImages(folder_ / "packed").count(), 0);
}

TEST_F(PackedTest, GoesOnAfterAnyNumberOfItems) {
  const std::vector<std::byte> whole = WriteWhole("whole");
  for (const int64_t first : {0, 1, 4, 5, 33, 59, 60}) {
    {
      WriteItems(*std::make_unique<PackedWriter>(folder_ / "packed", "items", "animals", kClasses),
                 first);
    }
    EXPECT_FALSE(Exists("packed"));
    PackedWriter writer(folder_ / "packed", "items", "animals", kClasses);
    EXPECT_EQ(writer.position(), first);
    WriteItems(writer, kItems);
    writer.Commit();
    EXPECT_EQ(ReadFile(folder_ / "packed"), whole) << first;
    std::filesystem::remove(folder_ / "packed");
  }
}

TEST_F(PackedTest, GoesOnWhereverTheFilesAreTorn) {
  const std::vector<std::byte> whole = WriteWhole("whole");
  {
    WriteItems(*std::make_unique<PackedWriter>(folder_ / "packed", "items", "animals", kClasses),
               20);
  }
  const auto data = ReadFile(folder_ / "packed.part"),
             journal = ReadFile(folder_ / "packed.part.journal");
  RandomStream random(1, 1);
  for (int tear = 0; tear < 60; ++tear) {
    // Either may be short, long by rubbish, or hold a wrong byte.
    const auto torn = [&](std::vector<std::byte> bytes) {
      const uint32_t how = random.Below(4);
      if (how == 0) bytes.resize(random.Below(static_cast<uint32_t>(bytes.size() + 1)));
      if (how == 1) bytes.resize(bytes.size() + random.Below(100), std::byte{7});
      if (how == 2) bytes[random.Below(static_cast<uint32_t>(bytes.size()))] ^= std::byte{0x10};
      return bytes;
    };
    WriteFileAtomically(folder_ / "packed.part", torn(data));
    WriteFileAtomically(folder_ / "packed.part.journal", torn(journal));
    PackedWriter writer(folder_ / "packed", "items", "animals", kClasses);
    EXPECT_LE(writer.position(), 20);
    WriteItems(writer, kItems);
    writer.Commit();
    ASSERT_EQ(ReadFile(folder_ / "packed"), whole) << tear;
  }
}

TEST_F(PackedTest, ADifferentSourceBeginsAnew) {
  {
    WriteItems(*std::make_unique<PackedWriter>(folder_ / "packed", "others", "animals", kClasses),
               20);
  }
  PackedWriter writer(folder_ / "packed", "items", "animals", kClasses);
  EXPECT_EQ(writer.position(), 0);
  EXPECT_EQ(writer.bytes(), 0);
}

TEST_F(PackedTest, OneWriterAtATime) {
  const PackedWriter writer(folder_ / "packed", "items", "animals", kClasses);
  try {
    const PackedWriter other(folder_ / "packed", "items", "animals", kClasses);
    ADD_FAILURE() << "two writers";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("another process is packing"), std::string::npos);
  }
}

TEST_F(PackedTest, AKilledWriterLosesNothing) {
  const std::vector<std::byte> whole = WriteWhole("whole");
  RandomStream random(2, 2);
  int kills = 0;
  for (int64_t before = 0; !Exists("packed");) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      PackedWriter writer(folder_ / "packed", "items", "animals", kClasses);
      while (writer.position() < kItems) {
        WriteItems(writer, writer.position() + 1);
        usleep(200);
      }
      writer.Commit();
      _exit(0);
    }
    usleep(1000 + random.Below(6000));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) ++kills;
    if (Exists("packed")) break;
    const int64_t now = PackedWriter(folder_ / "packed", "items", "animals", kClasses).position();
    EXPECT_GE(now, before);
    before = now;
    ASSERT_LT(kills, 1000);
  }
  EXPECT_GT(kills, 0);
  EXPECT_EQ(ReadFile(folder_ / "packed"), whole);
}

/// What reading everything says; empty: nothing is wrong.
std::string Problem(std::span<const std::byte> file) {
  try {
    const PackedImages images(file, "FILE");
    for (int64_t i = 0; i < images.count(); ++i) images.Read(i);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(PackedTest, EveryWrongByteIsFound) {
  const std::vector<std::byte> whole = WriteWhole("whole");
  EXPECT_EQ(Problem(whole), "");
  std::vector<std::byte> damaged = whole;
  for (size_t i = 0; i < whole.size(); i += i < 64 || i + 4000 > whole.size() ? 1 : 97) {
    damaged[i] ^= std::byte{4};
    EXPECT_NE(Problem(damaged).find("FILE"), std::string::npos) << i;
    damaged[i] ^= std::byte{4};
  }
  for (size_t size = 0; size < whole.size(); size += size < 100 ? 1 : 997) {
    EXPECT_NE(Problem(std::span(whole).first(size)), "") << size;
  }
  damaged.push_back(std::byte{0});
  EXPECT_NE(Problem(damaged), "");
}

TEST_F(PackedTest, AnIndexThatContradictsItselfIsRefused) {
  const std::vector<std::byte> whole = WriteWhole("whole");
  PackedHeader header;
  std::memcpy(&header, whole.data(), sizeof(header));
  const size_t entries = static_cast<size_t>(header.index_offset) + 4 + 7 + 3 * 4 + 6;
  // Changes the first image's entry, and makes the checksums right again.
  const auto problem = [&](const auto& change) {
    std::vector<std::byte> file = whole;
    PackedEntry entry;
    std::memcpy(&entry, file.data() + entries, sizeof(entry));
    change(entry);
    std::memcpy(file.data() + entries, &entry, sizeof(entry));
    PackedHeader changed = header;
    changed.index_checksum = Crc32c(std::span(file).subspan(changed.index_offset));
    changed.checksum = Crc32c(std::as_bytes(std::span(&changed, 1)).first(60));
    std::memcpy(file.data(), &changed, sizeof(changed));
    return Problem(file);
  };
  EXPECT_EQ(problem([](PackedEntry&) {}), "");
  EXPECT_NE(problem([](PackedEntry& entry) { entry.offset += 1; }).find("where it should"),
            std::string::npos);
  EXPECT_NE(problem([](PackedEntry& entry) { entry.bytes = 0xFFFFFFFF; }).find("where it should"),
            std::string::npos);
  EXPECT_NE(problem([](PackedEntry& entry) { entry.label = 3; }).find("class"), std::string::npos);
  EXPECT_NE(problem([](PackedEntry& entry) { entry.label = -1; }).find("class"), std::string::npos);
  EXPECT_NE(problem([](PackedEntry& entry) { entry.height = 3; }).find("pixels"),
            std::string::npos);
  EXPECT_NE(problem([](PackedEntry& entry) { entry.split = PackedSplit{3}; }).find("neither"),
            std::string::npos);
  EXPECT_NE(problem([](PackedEntry& entry) { entry.name_bytes = 0xFFFFFFFF; }).find("too early"),
            std::string::npos);
}

TEST_F(PackedTest, FilesThatAreNone) {
  const auto problem = [&](const std::string& name) -> std::string {
    try {
      PackedImages images(folder_ / name);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  WriteFileAtomically(folder_ / "empty", {});
  std::filesystem::create_directory(folder_ / "folder");
  EXPECT_NE(problem("empty").find("it is empty"), std::string::npos);
  EXPECT_NE(problem("folder").find("no regular file"), std::string::npos);
  EXPECT_NE(problem("missing").find("No such file"), std::string::npos);
}

}  // namespace
}  // namespace thinwire
