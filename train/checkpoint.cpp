// The file format, little-endian throughout:
//
//   8 bytes  "THINWIRE"
//   u32      version of the format
//   u32      0
//   u64      length of the header
//   u64      length of the payload
//   header   four lists, each a u64 count and its entries in the order of their names:
//              integers  name, i64
//              numbers   name, f64
//              strings   name, string
//              vectors   name, u64 number of elements
//            where a name or string is a u64 length and its bytes
//   payload  the vectors' elements, f32, in the order of the list
//   u32      CRC-32C of all of the above
#include "train/checkpoint.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "kernels/error.h"
#include "train/atomic_file.h"
#include "train/crc32c.h"

namespace thinwire {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::string_view kMagic = "THINWIRE";
constexpr uint32_t kVersion = 1;

struct Prefix {
  char magic[8];
  uint32_t version;
  uint32_t zero;
  uint64_t header_bytes;
  uint64_t payload_bytes;
};
static_assert(sizeof(Prefix) == 32 && std::is_trivially_copyable_v<Prefix>);

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

class HeaderWriter {
 public:
  template <typename T>
  void Value(T value) {
    const auto bytes = BytesOf(value);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void String(const std::string& text) {
    Value(uint64_t{text.size()});
    const auto bytes = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

std::vector<std::byte> Header(const Checkpoint& checkpoint) {
  HeaderWriter writer;
  const auto list = [&writer](const auto& entries, const auto& write) {
    writer.Value(uint64_t{entries.size()});
    for (const auto& [name, value] : entries) {
      writer.String(name);
      write(value);
    }
  };
  list(checkpoint.integers, [&](int64_t value) { writer.Value(value); });
  list(checkpoint.numbers, [&](double value) { writer.Value(value); });
  list(checkpoint.strings, [&](const std::string& value) { writer.String(value); });
  list(checkpoint.vectors,
       [&](const std::vector<float>& value) { writer.Value(uint64_t{value.size()}); });
  return writer.bytes();
}

/// The file's bytes, cut into pieces that lie in memory already.
class Encoder {
 public:
  explicit Encoder(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), header_(Header(checkpoint)) {
    std::memcpy(prefix_.magic, kMagic.data(), kMagic.size());
    prefix_.version = kVersion;
    prefix_.zero = 0;
    prefix_.header_bytes = header_.size();
    prefix_.payload_bytes = 0;
    for (const auto& [name, vector] : checkpoint.vectors) {
      prefix_.payload_bytes += vector.size() * sizeof(float);
    }
  }

  uint64_t size() const {
    return sizeof(Prefix) + prefix_.header_bytes + prefix_.payload_bytes + sizeof(uint32_t);
  }

  /// Calls write(bytes) for each piece in turn.
  template <typename Write>
  void Run(const Write& write) const {
    uint32_t crc = 0;
    const auto piece = [&](std::span<const std::byte> bytes) {
      crc = Crc32c(bytes, crc);
      write(bytes);
    };
    piece(BytesOf(prefix_));
    piece(header_);
    for (const auto& [name, vector] : checkpoint_.vectors) piece(std::as_bytes(std::span(vector)));
    write(BytesOf(crc));
  }

 private:
  const Checkpoint& checkpoint_;
  std::vector<std::byte> header_;
  Prefix prefix_;
};

/// What a file is that is not a checkpoint, and what to do with it.
struct Foreign {
  std::string_view magic, what, remedy;
};
constexpr std::string_view kConvert =
    "convert it to safetensors in Python and load the weights from that";
constexpr Foreign kForeign[] = {
    {"PK\x03\x04", "a PyTorch file (or another zip archive)", kConvert},
    {"\x80\x02", "a PyTorch file (or another Python pickle)", kConvert},
    {"\x80\x04", "a Python pickle", kConvert},
    {"\x89HDF", "an HDF5 file", kConvert},
    {"\x93NUMPY", "a NumPy array", kConvert},
    {"\x1F\x8B", "a gzip file", "unpack it first"},
};

/// Parses one file; throws Error with the file's name in it.
class Decoder {
 public:
  Decoder(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Checkpoint Decode() {
    const Prefix prefix = CheckedPrefix();
    header_ = bytes_.subspan(sizeof(Prefix), prefix.header_bytes);
    payload_ = bytes_.subspan(sizeof(Prefix) + prefix.header_bytes, prefix.payload_bytes);
    Checkpoint checkpoint;
    List(checkpoint.integers, [this] { return Value<int64_t>(); });
    List(checkpoint.numbers, [this] { return Value<double>(); });
    List(checkpoint.strings, [this] { return String(); });
    List(checkpoint.vectors, [this] { return Vector(); });
    if (!header_.empty() || !payload_.empty()) Damaged("it holds more than it says");
    return checkpoint;
  }

 private:
  [[noreturn]] void Fail(const std::string& problem, std::string_view remedy) const {
    throw Error(fmt::format("cannot read checkpoint {}: {}", name_, problem), std::string(remedy));
  }
  [[noreturn]] void Damaged(const std::string& problem) const {
    Fail("it is damaged: " + problem, "resume from another checkpoint");
  }

  Prefix CheckedPrefix() const {
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
    if (text.substr(0, kMagic.size()) != kMagic.substr(0, text.size())) RefuseForeign(text);
    if (text.size() < sizeof(Prefix)) {
      Damaged(fmt::format("it is cut short at {} bytes", bytes_.size()));
    }
    Prefix prefix;
    std::memcpy(&prefix, bytes_.data(), sizeof(prefix));
    if (prefix.version > kVersion) {
      Fail(fmt::format("it has version {} of the format, and this program knows versions up to {}",
                       prefix.version, kVersion),
           "use the newer thinwire that wrote it");
    }
    if (prefix.version == 0 || prefix.zero != 0) Damaged("its prefix makes no sense");

    const uint64_t rest = bytes_.size() - sizeof(Prefix);
    uint64_t expected = sizeof(uint32_t);
    if (__builtin_add_overflow(expected, prefix.header_bytes, &expected) ||
        __builtin_add_overflow(expected, prefix.payload_bytes, &expected) || expected != rest) {
      Damaged(
          fmt::format("it should have {} bytes behind its prefix, {} are there", expected, rest));
    }
    const size_t covered = bytes_.size() - sizeof(uint32_t);
    uint32_t crc;
    std::memcpy(&crc, bytes_.data() + covered, sizeof(crc));
    if (crc != Crc32c(bytes_.first(covered))) Damaged("its checksum is wrong");
    return prefix;
  }

  [[noreturn]] void RefuseForeign(std::string_view text) const {
    for (const Foreign& foreign : kForeign) {
      if (text.starts_with(foreign.magic)) {
        Fail(fmt::format("it is {}, not a checkpoint", foreign.what), foreign.remedy);
      }
    }
    // The length of a JSON header, which has fewer than 2^32 bytes, and the header.
    if (text.size() > 8 && text.substr(4, 5) == std::string_view("\0\0\0\0{", 5)) {
      Fail("it is a safetensors file, not a checkpoint",
           "a run can begin with its weights but not resume from it");
    }
    Fail("it is not a checkpoint of thinwire", "check the path");
  }

  std::span<const std::byte> Take(uint64_t count) {
    if (count > header_.size()) Damaged("its header ends too early");
    const auto taken = header_.first(count);
    header_ = header_.subspan(count);
    return taken;
  }
  template <typename T>
  T Value() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string String() {
    const auto bytes = Take(Value<uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::vector<float> Vector() {
    const auto count = Value<uint64_t>();
    if (count > payload_.size() / sizeof(float)) Damaged("its payload ends too early");
    std::vector<float> vector(count);
    if (count > 0) std::memcpy(vector.data(), payload_.data(), count * sizeof(float));
    payload_ = payload_.subspan(count * sizeof(float));
    return vector;
  }
  template <typename T, typename Read>
  void List(std::map<std::string, T>& entries, const Read& read) {
    const auto count = Value<uint64_t>();
    for (uint64_t i = 0; i < count; ++i) {
      std::string name = String();
      // Rising names are unique names, and equal checkpoints are equal files.
      if (!entries.empty() && name <= entries.rbegin()->first) Damaged("its names are not sorted");
      entries.emplace_hint(entries.end(), std::move(name), read());
    }
  }

  std::span<const std::byte> bytes_, header_, payload_;
  const std::string& name_;
};

}  // namespace

std::vector<std::byte> SerializeCheckpoint(const Checkpoint& checkpoint) {
  const Encoder encoder(checkpoint);
  std::vector<std::byte> bytes;
  bytes.reserve(encoder.size());
  encoder.Run([&bytes](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

Checkpoint ParseCheckpoint(std::span<const std::byte> bytes, const std::string& name) {
  return Decoder(bytes, name).Decode();
}

void WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint) {
  const Encoder encoder(checkpoint);
  AtomicFile file(path, static_cast<int64_t>(encoder.size()));
  encoder.Run([&file](std::span<const std::byte> piece) { file.Write(piece); });
  file.Commit();
}

Checkpoint ReadCheckpoint(const std::string& path) { return ParseCheckpoint(ReadFile(path), path); }

}  // namespace thinwire
