#include "train/packed_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/crc32c.h"
#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

// The journal: this, the length (uint32) of the source and the source; then a record for each item:
// JournalRecord, its name, the reason why it was left out, and the checksum of all three.
constexpr std::array<char, 16> kJournalMagic = {'t', 'h', 'i', 'n', 'w', 'i', 'r', 'e',
                                                ' ', 'j', 'o', 'u', 'r', 'n', 'a', 'l'};

struct JournalRecord {
  PackedEntry entry;
  uint32_t left_out = 0;  // 0 or 1
  uint32_t reason_bytes = 0;
};
static_assert(sizeof(JournalRecord) == sizeof(PackedEntry) + 8);

[[noreturn]] void Fail(const std::string& path, const std::string& remedy = {}) {
  const int error = errno;
  throw Error(fmt::format("cannot write {}: {}", path, std::strerror(error)),
              remedy.empty() ? FileRemedy(error) : remedy);
}

void AppendBytes(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}
template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}
std::span<const std::byte> BytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

uint32_t Length(std::string_view text) {
  if (text.size() > std::numeric_limits<uint32_t>::max()) {
    throw Error("cannot pack a name of 4 GiB", "");
  }
  return static_cast<uint32_t>(text.size());
}

int Open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) Fail(path);
  return descriptor;
}

/// The whole of an open file.
std::vector<std::byte> ReadAll(int descriptor, const std::string& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) Fail(path);
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        ::pread(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

/// Whether the file holds these bytes at `offset`, as far as the checksum tells.
bool Holds(int descriptor, const PackedEntry& entry, std::vector<std::byte>& scratch) {
  scratch.resize(entry.bytes);
  size_t done = 0;
  while (done < scratch.size()) {
    const ssize_t count = ::pread(descriptor, scratch.data() + done, scratch.size() - done,
                                  static_cast<off_t>(entry.offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    done += static_cast<size_t>(count);
  }
  return Crc32c(scratch) == entry.checksum;
}

}  // namespace

PackedWriter::PackedWriter(std::string path, const std::string& source, std::string kind,
                           std::vector<std::string> classes)
    : path_(std::move(path)),
      part_(path_ + ".part"),
      journal_path_(part_ + ".journal"),
      kind_(std::move(kind)),
      classes_(std::move(classes)) {
  try {
    journal_ = Open(journal_path_);
    if (::flock(journal_, LOCK_EX | LOCK_NB) != 0) {
      Fail(journal_path_, errno == EWOULDBLOCK ? "another process is packing to it" : "");
    }
    data_ = Open(part_);
    if (!Resume(source)) Begin(source);
    // Behind what is known to be there.
    if (::ftruncate(data_, static_cast<off_t>(end_)) != 0) Fail(part_);
    if (::lseek(data_, static_cast<off_t>(end_), SEEK_SET) < 0) Fail(part_);
  } catch (...) {
    if (data_ >= 0) ::close(data_);
    if (journal_ >= 0) ::close(journal_);
    throw;
  }
}

PackedWriter::~PackedWriter() {
  if (data_ >= 0) ::close(data_);
  if (journal_ >= 0) ::close(journal_);
}

void PackedWriter::Begin(const std::string& source) {
  if (::ftruncate(journal_, 0) != 0 || ::lseek(journal_, 0, SEEK_SET) < 0) Fail(journal_path_);
  std::vector<std::byte> start;
  AppendBytes(start, BytesOf(kJournalMagic));
  AppendBytes(start, BytesOf(Length(source)));
  AppendBytes(start, BytesOf(std::string_view(source)));
  Write(journal_, journal_path_, start);
}

bool PackedWriter::Resume(const std::string& source) {
  const std::vector<std::byte> journal = ReadAll(journal_, journal_path_);
  size_t at = 0;
  const auto take = [&](size_t count) -> std::span<const std::byte> {
    if (journal.size() - at < count) return {};
    at += count;
    return std::span(journal).subspan(at - count, count);
  };
  const auto text = [](std::span<const std::byte> bytes) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const auto magic = take(sizeof(kJournalMagic));
  if (magic.empty() || std::memcmp(magic.data(), kJournalMagic.data(), magic.size()) != 0) {
    return false;
  }
  const auto length = take(sizeof(uint32_t));
  if (length.empty() || std::memcmp(length.data(), BytesOf(Length(source)).data(), 4) != 0 ||
      journal.size() - at < source.size() || text(take(source.size())) != source) {
    return false;
  }

  size_t whole = at;  // where the last whole record ends
  std::vector<std::byte> scratch;
  for (;; whole = at) {
    const auto fixed = take(sizeof(JournalRecord));
    if (fixed.empty()) break;
    JournalRecord record;
    std::memcpy(&record, fixed.data(), sizeof(record));
    const size_t texts = size_t{record.entry.name_bytes} + record.reason_bytes;
    if (journal.size() - at < texts) break;
    const std::string_view name = text(take(record.entry.name_bytes));
    const std::string_view reason = text(take(record.reason_bytes));
    const auto checksum = take(sizeof(uint32_t));
    const uint32_t expected =
        Crc32c(std::span(journal).subspan(whole, sizeof(JournalRecord) + texts));
    if (checksum.empty() || std::memcmp(checksum.data(), &expected, sizeof(expected)) != 0) break;
    if (record.left_out == 0) {
      // After a crash of the machine the journal may know of bytes that the disk does not.
      if (record.entry.offset != end_ || !Holds(data_, record.entry, scratch)) break;
      end_ += record.entry.bytes;
    }
    Index(record.entry, name, reason);
    (record.left_out == 0 ? images_ : left_out_) += 1;
    ++position_;
  }
  if (::ftruncate(journal_, static_cast<off_t>(whole)) != 0 ||
      ::lseek(journal_, static_cast<off_t>(whole), SEEK_SET) < 0) {
    Fail(journal_path_);
  }
  return true;
}

void PackedWriter::Write(int descriptor, const std::string& path,
                         std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void PackedWriter::Append(const Item& item) {
  constexpr size_t kLargest = std::numeric_limits<uint32_t>::max();
  constexpr int64_t kLargestSide = std::numeric_limits<uint16_t>::max();
  if (item.bytes.size() > kLargest || item.height > kLargestSide || item.width > kLargestSide) {
    throw Error(fmt::format("cannot pack {}: it is too large", item.name), "leave it out");
  }
  assert(item.label >= 0 && static_cast<size_t>(item.label) < classes_.size());
  const PackedEntry entry = {.offset = end_,
                             .bytes = static_cast<uint32_t>(item.bytes.size()),
                             .label = item.label,
                             .checksum = Crc32c(item.bytes),
                             .name_bytes = Length(item.name),
                             .height = static_cast<uint16_t>(item.height),
                             .width = static_cast<uint16_t>(item.width),
                             .channels = static_cast<uint16_t>(item.channels),
                             .split = item.split};
  Write(data_, part_, item.bytes);
  end_ += entry.bytes;
  Record(entry, item.name, {});
  ++images_;
}

void PackedWriter::LeaveOut(std::string_view name, std::string_view reason, PackedSplit split) {
  PackedEntry entry;
  entry.split = split;
  entry.name_bytes = Length(name);
  Record(entry, name, reason.empty() ? "unknown" : reason);
  ++left_out_;
}

void PackedWriter::Record(const PackedEntry& entry, std::string_view name,
                          std::string_view reason) {
  const JournalRecord fixed = {
      .entry = entry, .left_out = reason.empty() ? 0u : 1u, .reason_bytes = Length(reason)};
  std::vector<std::byte> record;
  AppendBytes(record, BytesOf(fixed));
  AppendBytes(record, BytesOf(name));
  AppendBytes(record, BytesOf(reason));
  AppendBytes(record, BytesOf(Crc32c(record)));
  Write(journal_, journal_path_, record);
  Index(entry, name, reason);
  ++position_;
}

void PackedWriter::Index(const PackedEntry& entry, std::string_view name, std::string_view reason) {
  if (reason.empty()) {
    AppendBytes(entries_, BytesOf(entry));
    AppendBytes(entries_, BytesOf(name));
  } else {
    AppendBytes(left_out_entries_, BytesOf(PackedLeftOut{.name_bytes = Length(name),
                                                         .reason_bytes = Length(reason),
                                                         .split = entry.split}));
    AppendBytes(left_out_entries_, BytesOf(name));
    AppendBytes(left_out_entries_, BytesOf(reason));
  }
}

void PackedWriter::Commit() {
  std::vector<std::byte> index;
  AppendBytes(index, BytesOf(Length(kind_)));
  AppendBytes(index, BytesOf(std::string_view(kind_)));
  for (const std::string& name : classes_) {
    AppendBytes(index, BytesOf(Length(name)));
    AppendBytes(index, BytesOf(std::string_view(name)));
  }
  AppendBytes(index, entries_);
  AppendBytes(index, left_out_entries_);
  PackedHeader header = {.images = static_cast<uint64_t>(images_),
                         .left_out = static_cast<uint64_t>(left_out_),
                         .index_offset = end_,
                         .index_bytes = index.size(),
                         .classes = static_cast<uint32_t>(classes_.size()),
                         .index_checksum = Crc32c(index)};
  header.checksum = Crc32c(BytesOf(header).first(sizeof(header) - sizeof(header.checksum)));
  Write(data_, part_, index);
  if (::lseek(data_, 0, SEEK_SET) < 0) Fail(part_);
  Write(data_, part_, BytesOf(header));
  if (::fsync(data_) != 0) Fail(part_);
  if (::rename(part_.c_str(), path_.c_str()) != 0) Fail(path_);
  SyncFolderOf(path_);
  if (::unlink(journal_path_.c_str()) != 0) Fail(journal_path_);
}

}  // namespace thinwire
