// The file format, little-endian throughout:
//
//   8 bytes  "THINWIRE"
//   u32      version of the format
//   u32      0
//   u64      length of the header
//   u64      length of the payload
//   header   four lists (five in version 2), each a u64 count and its entries in the order of their names:
//              integers  name, i64
//              numbers   name, f64
//              strings   name, string
//              vectors   name, u64 number of elements
//              wide vectors  likewise; only in version 2
//            where a name or string is a u64 length and its bytes
//   payload  the vectors' elements, f32, in the order of the list, then the wide vectors', f64
//   u32      CRC-32C of all of the above
//
// Version 2 is written only if there are wide vectors.
#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "kernels/error.h"
#include "train/atomic_file.h"
#include "kernels/crc32c.h"

namespace thinwire {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr std::string_view kMagic = "THINWIRE";
constexpr uint32_t kVersion = 2;

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
  if (!checkpoint.wide_vectors.empty()) {
    list(checkpoint.wide_vectors,
         [&](const std::vector<double>& value) { writer.Value(uint64_t{value.size()}); });
  }
  return writer.bytes();
}

/// The file's bytes, cut into pieces that lie in memory already.
class Encoder {
 public:
  explicit Encoder(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), header_(Header(checkpoint)) {
    std::memcpy(prefix_.magic, kMagic.data(), kMagic.size());
    prefix_.version = checkpoint.wide_vectors.empty() ? 1 : 2;
    prefix_.zero = 0;
    prefix_.header_bytes = header_.size();
    prefix_.payload_bytes = 0;
    for (const auto& [name, vector] : checkpoint.vectors) {
      prefix_.payload_bytes += vector.size() * sizeof(float);
    }
    for (const auto& [name, vector] : checkpoint.wide_vectors) {
      prefix_.payload_bytes += vector.size() * sizeof(double);
    }
  }

  uint64_t size() const {
    return sizeof(Prefix) + prefix_.header_bytes + prefix_.payload_bytes + sizeof(uint32_t);
  }

  /// Calls write(bytes) for each piece in turn. Returns the checksum, which is the last one.
  template <typename Write>
  uint32_t Run(const Write& write) const {
    uint32_t crc = 0;
    const auto piece = [&](std::span<const std::byte> bytes) {
      crc = Crc32c(bytes, crc);
      write(bytes);
    };
    piece(BytesOf(prefix_));
    piece(header_);
    for (const auto& [name, vector] : checkpoint_.vectors) piece(std::as_bytes(std::span(vector)));
    for (const auto& [name, vector] : checkpoint_.wide_vectors) {
      piece(std::as_bytes(std::span(vector)));
    }
    write(BytesOf(crc));
    return crc;
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

/// Fills a span with the next bytes of a checkpoint.
using ReadNext = std::function<void(std::span<std::byte>)>;

/// Decodes one file, of which no more than the header is ever held twice. The checksum comes last,
/// so until then nothing is believed but the number of bytes. Throws Error with the file's name.
class Decoder {
 public:
  Decoder(uint64_t size, ReadNext read, const std::string& name)
      : size_(size), read_(std::move(read)), name_(name) {}

  Checkpoint Decode(uint32_t* checksum = nullptr) {
    const Prefix prefix = CheckedPrefix();
    std::vector<std::byte> header(prefix.header_bytes);
    Read(header);
    header_ = header;
    payload_bytes_ = prefix.payload_bytes;
    Checkpoint checkpoint;
    List(checkpoint.integers, [this] { return Value<int64_t>(); });
    List(checkpoint.numbers, [this] { return Value<double>(); });
    List(checkpoint.strings, [this] { return String(); });
    List(checkpoint.vectors, [this] { return Vector<float>(); });
    if (prefix.version > 1) List(checkpoint.wide_vectors, [this] { return Vector<double>(); });
    if (!header_.empty() || payload_bytes_ != 0) Damaged("it holds more than it says");
    const uint32_t computed = crc_;
    uint32_t stored;
    Read(std::as_writable_bytes(std::span(&stored, 1)));
    if (stored != computed) Damaged("its checksum is wrong");
    if (checksum != nullptr) *checksum = computed;
    return checkpoint;
  }

 private:
  [[noreturn]] void Fail(const std::string& problem, std::string_view remedy) const {
    throw Error(fmt::format("cannot read checkpoint {}: {}", name_, problem), std::string(remedy));
  }
  [[noreturn]] void Damaged(const std::string& problem) const {
    Fail("it is damaged: " + problem, "resume from another checkpoint");
  }

  void Read(std::span<std::byte> bytes) {
    read_(bytes);
    crc_ = Crc32c(bytes, crc_);
  }

  Prefix CheckedPrefix() {
    Prefix prefix{};
    const size_t present = std::min<uint64_t>(size_, sizeof(prefix));
    Read(std::as_writable_bytes(std::span(&prefix, 1)).first(present));
    const std::string_view text(reinterpret_cast<const char*>(&prefix), present);
    if (text.substr(0, kMagic.size()) != kMagic.substr(0, present)) RefuseForeign(text);
    if (present < sizeof(prefix)) Damaged(fmt::format("it is cut short at {} bytes", present));
    if (prefix.version > kVersion) {
      Fail(fmt::format("it has version {} of the format, and this program knows versions up to {}",
                       prefix.version, kVersion),
           "use the newer thinwire that wrote it");
    }
    if (prefix.version == 0 || prefix.zero != 0) Damaged("its prefix makes no sense");
    const uint64_t rest = size_ - sizeof(prefix);
    uint64_t expected = sizeof(uint32_t);
    const bool overflow = __builtin_add_overflow(expected, prefix.header_bytes, &expected) ||
                          __builtin_add_overflow(expected, prefix.payload_bytes, &expected);
    if (overflow || expected != rest) {
      Damaged(fmt::format("{} bytes are there, and its prefix promises {}", size_,
                          overflow ? "far more" : fmt::format("{}", expected + sizeof(prefix))));
    }
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
  template <typename T>
  std::vector<T> Vector() {
    const auto count = Value<uint64_t>();
    if (count > payload_bytes_ / sizeof(T)) Damaged("its payload ends too early");
    payload_bytes_ -= count * sizeof(T);
    std::vector<T> vector(count);
    Read(std::as_writable_bytes(std::span(vector)));
    return vector;
  }
  template <typename T, typename ReadEntry>
  void List(std::map<std::string, T>& entries, const ReadEntry& read_entry) {
    const auto count = Value<uint64_t>();
    for (uint64_t i = 0; i < count; ++i) {
      std::string name = String();
      // Rising names are unique names, and equal checkpoints are equal files.
      if (!entries.empty() && name <= entries.rbegin()->first) Damaged("its names are not sorted");
      entries.emplace_hint(entries.end(), std::move(name), read_entry());
    }
  }

  const uint64_t size_;
  const ReadNext read_;
  const std::string& name_;
  std::span<const std::byte> header_;  // what is left of it
  uint64_t payload_bytes_ = 0;         // left
  uint32_t crc_ = 0;                   // of what was read
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
  const auto read = [rest = bytes](std::span<std::byte> next) mutable {
    assert(next.size() <= rest.size());
    std::copy_n(rest.begin(), next.size(), next.begin());
    rest = rest.subspan(next.size());
  };
  return Decoder(bytes.size(), read, name).Decode();
}

uint32_t WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint) {
  const Encoder encoder(checkpoint);
  AtomicFile file(path, static_cast<int64_t>(encoder.size()));
  const uint32_t checksum =
      encoder.Run([&file](std::span<const std::byte> piece) { file.Write(piece); });
  file.Commit();
  return checksum;
}

Checkpoint ReadCheckpoint(const std::string& path, uint32_t* checksum) {
  InputFile file(path);
  const auto read = [&file](std::span<std::byte> next) { file.Read(next); };
  return Decoder(static_cast<uint64_t>(file.size()), read, path).Decode(checksum);
}

}  // namespace thinwire
