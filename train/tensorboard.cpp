#include "train/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <span>
#include <string_view>

#include "kernels/crc32c.h"

namespace thinwire {
namespace {

// An event file is a TFRecord file of Event messages. A record is: the message's length (8 bytes,
// little-endian), the masked CRC-32C of these 8 bytes, the message, its masked CRC-32C.
//
// Fields used, by number (event.proto and summary.proto of TensorBoard):
//   Event:      1 wall_time (double), 2 step (int64), 3 file_version (string), 5 summary,
//               7 session_log
//   Summary:    1 value (repeated Value)
//   Value:      1 tag (string), 2 simple_value (float)
//   SessionLog: 1 status (START = 1)

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

/// A protocol buffers message that is being written.
class Message {
 public:
  void Varint(int field, uint64_t value) {
    Key(field, WireType::kVarint);
    AppendVarint(value);
  }
  void Double(int field, double value) { Fixed(field, WireType::kFixed64, value); }
  void Float(int field, float value) { Fixed(field, WireType::kFixed32, value); }
  void Bytes(int field, std::string_view bytes) {
    Key(field, WireType::kBytes);
    AppendVarint(bytes.size());
    bytes_ += bytes;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Key(int field, WireType type) {
    AppendVarint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(type));
  }
  void AppendVarint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  template <typename T>
  void Fixed(int field, WireType type, T value) {
    Key(field, type);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  std::string bytes_;
};

double WallTime() {
  using Seconds = std::chrono::duration<double>;
  return Seconds(std::chrono::system_clock::now().time_since_epoch()).count();
}

Message NewEvent() {
  Message event;
  event.Double(1, WallTime());
  return event;
}

/// TFRecord's form of a checksum, which keeps checksums of checksums from degenerating.
uint32_t MaskedCrc(std::string_view bytes) {
  return std::rotr(Crc32c(std::as_bytes(std::span(bytes))), 15) + 0xA282EAD8u;
}

template <typename T>
std::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string Record(const Message& event) {
  const uint64_t length = event.bytes().size();
  const uint32_t length_crc = MaskedCrc(BytesOf(length));
  const uint32_t crc = MaskedCrc(event.bytes());
  std::string record;
  record.append(BytesOf(length)).append(BytesOf(length_crc));
  record.append(event.bytes()).append(BytesOf(crc));
  return record;
}

AppendFile NewEventFile(const std::string& folder) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0') {
    std::strcpy(host.data(), "localhost");
  }
  // TensorBoard reads a folder's files in the order of their names, so time comes first, and
  // writers of one second and process are told apart by a counter.
  static std::atomic<int> counter{0};
  const auto seconds = static_cast<int64_t>(WallTime());
  return AppendFile(fmt::format("{}/events.out.tfevents.{:010}.{}.{}.{}", folder, seconds,
                                host.data(), ::getpid(), counter++),
                    AppendFile::Existing::kRefuse);
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const std::string& folder, std::optional<int64_t> resumed_step)
    : file_(NewEventFile(folder)) {
  Message version = NewEvent();
  version.Bytes(3, "brain.Event:2");
  std::string records = Record(version);
  if (resumed_step) {
    Message start;
    start.Varint(1, 1);
    Message event = NewEvent();
    event.Varint(2, static_cast<uint64_t>(*resumed_step + 1));
    event.Bytes(7, start.bytes());
    records += Record(event);
  }
  file_.Append(records);
}

void TensorBoardWriter::Write(int64_t step,
                              const std::vector<std::pair<std::string, double>>& scalars) {
  Message summary;
  for (const auto& [tag, value] : scalars) {
    Message scalar;
    scalar.Bytes(1, tag);
    scalar.Float(2, static_cast<float>(value));
    summary.Bytes(1, scalar.bytes());
  }
  Message event = NewEvent();
  event.Varint(2, static_cast<uint64_t>(step));
  event.Bytes(5, summary.bytes());
  file_.Append(Record(event));
}

}  // namespace thinwire
