#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <map>

#include "tests/train/temporary_folder.h"
#include "kernels/crc32c.h"

namespace thinwire {
namespace {

/// A message's fields by number; values as their bytes, varints as 8 bytes.
using Fields = std::vector<std::pair<int, std::string>>;

uint64_t ReadVarint(const std::string& bytes, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(at++));
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
}

Fields ParseMessage(const std::string& bytes) {
  Fields fields;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t key = ReadVarint(bytes, at);
    std::string value;
    switch (key & 7) {
      case 0: {
        const uint64_t number = ReadVarint(bytes, at);
        value.assign(reinterpret_cast<const char*>(&number), 8);
        break;
      }
      case 1:
        value = bytes.substr(at, 8), at += 8;
        break;
      case 2: {
        const uint64_t length = ReadVarint(bytes, at);
        value = bytes.substr(at, length), at += length;
        break;
      }
      case 5:
        value = bytes.substr(at, 4), at += 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return fields;
    }
    fields.emplace_back(static_cast<int>(key >> 3), value);
  }
  return fields;
}

template <typename T>
T As(const std::string& bytes) {
  T value{};
  EXPECT_EQ(bytes.size(), sizeof(T));
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof(T)));
  return value;
}

uint32_t Unmasked(uint32_t masked) {
  const uint32_t rotated = masked - 0xA282EAD8u;
  return rotated >> 17 | rotated << 15;
}

/// The records of an event file; checks the checksums.
std::vector<std::string> ReadRecords(const std::string& path) {
  const std::string text = ReadText(path);
  const auto checksum = [&](size_t begin, size_t size) {
    return Crc32c(std::as_bytes(std::span(text).subspan(begin, size)));
  };
  std::vector<std::string> records;
  for (size_t at = 0; at < text.size();) {
    const auto length = As<uint64_t>(text.substr(at, 8));
    EXPECT_EQ(Unmasked(As<uint32_t>(text.substr(at + 8, 4))), checksum(at, 8));
    records.push_back(text.substr(at + 12, length));
    EXPECT_EQ(records.back().size(), length);
    EXPECT_EQ(Unmasked(As<uint32_t>(text.substr(at + 12 + length, 4))), checksum(at + 12, length));
    at += 12 + length + 4;
  }
  return records;
}

double Now() {
  using Seconds = std::chrono::duration<double>;
  return Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

TEST(TensorBoard, EventsReadBack) {
  const TemporaryFolder folder;
  const double before = Now();
  TensorBoardWriter writer(folder.path(), std::nullopt);
  writer.Write(0, {{"train/loss", 2.5}});
  writer.Write(int64_t{1} << 40, {{"a", 0.1}, {"b", NAN}, {std::string(200, 'c'), -INFINITY}});
  const std::vector<std::string> records = ReadRecords(writer.path());
  ASSERT_EQ(records.size(), 3u);

  Fields version = ParseMessage(records[0]);
  ASSERT_EQ(version.size(), 2u);
  EXPECT_EQ(version[0].first, 1);
  EXPECT_GE(As<double>(version[0].second), before);
  EXPECT_LE(As<double>(version[0].second), Now());
  EXPECT_EQ(version[1], (std::pair<int, std::string>{3, "brain.Event:2"}));

  const Fields event = ParseMessage(records[2]);
  ASSERT_EQ(event.size(), 3u);
  EXPECT_EQ(event[1].first, 2);
  EXPECT_EQ(As<int64_t>(event[1].second), int64_t{1} << 40);
  EXPECT_EQ(event[2].first, 5);
  const std::vector<std::pair<std::string, float>> expected = {
      {"a", 0.1f}, {"b", NAN}, {std::string(200, 'c'), -INFINITY}};
  const Fields values = ParseMessage(event[2].second);
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i].first, 1);
    const Fields value = ParseMessage(values[i].second);
    ASSERT_EQ(value.size(), 2u);
    EXPECT_EQ(value[0], (std::pair<int, std::string>{1, expected[i].first}));
    EXPECT_EQ(value[1].first, 2);
    const float read = As<float>(value[1].second);
    EXPECT_TRUE(read == expected[i].second || (std::isnan(read) && std::isnan(expected[i].second)));
  }
}

TEST(TensorBoard, EachWriterHasItsOwnFileInOrder) {
  const TemporaryFolder folder;
  const TensorBoardWriter first(folder.path(), std::nullopt), second(folder.path(), 10);
  EXPECT_LT(first.path(), second.path());
  ASSERT_EQ(folder.names().size(), 2u);
  for (const std::string& name : folder.names()) {
    EXPECT_TRUE(name.starts_with("events.out.tfevents.")) << name;
  }
  EXPECT_EQ(ReadRecords(first.path()).size(), 1u);

  // The second tells that what the first said from step 11 on is void.
  const std::vector<std::string> records = ReadRecords(second.path());
  ASSERT_EQ(records.size(), 2u);
  const Fields event = ParseMessage(records[1]);
  ASSERT_EQ(event.size(), 3u);
  EXPECT_EQ(As<int64_t>(event[1].second), 11);
  EXPECT_EQ(event[2].first, 7);
  const Fields log = ParseMessage(event[2].second);
  ASSERT_EQ(log.size(), 1u);
  EXPECT_EQ(log[0].first, 1);
  EXPECT_EQ(As<uint64_t>(log[0].second), 1u);
}

TEST(TensorBoard, FolderMustExist) {
  const TemporaryFolder folder;
  EXPECT_ERROR(TensorBoardWriter(folder / "none", std::nullopt), "cannot write " + folder / "none");
}

// An entry of its own lets TensorBoard itself read this file; see tensorboard_check.py.
TEST(TensorBoard, WritesAnExampleForTheCheck) {
  const char* folder = std::getenv("THINWIRE_TENSORBOARD_EXAMPLE");
  if (folder == nullptr) GTEST_SKIP() << "THINWIRE_TENSORBOARD_EXAMPLE names no folder";
  TensorBoardWriter first(folder, std::nullopt);
  for (int64_t step = 1; step <= 5; ++step) {
    first.Write(step, {{"train/loss", 1.0 / static_cast<double>(step)}, {"train/top1", 0.5}});
  }
  TensorBoardWriter second(folder, 3);
  for (int64_t step = 4; step <= 6; ++step) {
    second.Write(step, {{"train/loss", 10.0 * static_cast<double>(step)}});
  }
}

}  // namespace
}  // namespace thinwire
