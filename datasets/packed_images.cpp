#include "datasets/packed_images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/crc32c.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr const char* kRemedy = "pack the data set again with thinwire prepare";

}  // namespace

/// A whole file in memory, for reading.
class PackedImages::Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) Fail(path, std::strerror(errno));
    struct stat status {};
    const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    size_ = static_cast<size_t>(status.st_size);
    if (regular && size_ > 0) {
      data_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
    }
    const int error = errno;
    ::close(descriptor);
    if (!regular) Fail(path, "it is no regular file");
    if (size_ == 0) Fail(path, "it is empty");
    if (data_ == MAP_FAILED) Fail(path, std::strerror(error));
  }
  ~Mapping() { ::munmap(data_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

  /// Starts reading a part of the file that is about to be looked at, in one piece.
  void Fetch(std::span<const std::byte> part) const {
    static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const auto offset = static_cast<size_t>(part.data() - bytes().data());
    const size_t start = offset / page * page;
    // A mere hint; where it fails, pages are read as they are touched.
    ::madvise(static_cast<std::byte*>(data_) + start, offset + part.size() - start, MADV_WILLNEED);
  }

 private:
  [[noreturn]] static void Fail(const std::string& path, const char* cause) {
    throw Error(fmt::format("cannot read the packed data set {}: {}", path, cause),
                "check the path given as --data-dir");
  }

  void* data_ = nullptr;
  size_t size_ = 0;
};

/// Takes the index apart, from front to back.
class PackedImages::IndexReader {
 public:
  IndexReader(const PackedImages& owner, std::span<const std::byte> bytes)
      : owner_(owner), bytes_(bytes) {}

  template <typename T>
  T Value() {
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view Text(uint32_t length) {
    const auto bytes = Take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> Take(size_t count) {
    if (count > bytes_.size()) owner_.Fail("its index ends too early");
    const auto taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }

  const PackedImages& owner_;
  std::span<const std::byte> bytes_;
};

PackedImages::PackedImages(const std::string& path)
    : name_(path), mapping_(std::make_unique<Mapping>(path)), file_(mapping_->bytes()) {
  ReadIndex();
}

PackedImages::PackedImages(std::span<const std::byte> file, std::string name)
    : name_(std::move(name)), file_(file) {
  ReadIndex();
}

PackedImages::~PackedImages() = default;
PackedImages::PackedImages(PackedImages&&) noexcept = default;

void PackedImages::Fail(const std::string& problem) const {
  throw Error(fmt::format("cannot read the packed data set {}: {}", name_, problem), kRemedy);
}

std::string PackedImages::KindOf(const std::string& path) {
  PackedImages images;
  images.name_ = path;
  images.mapping_ = std::make_unique<Mapping>(path);
  images.file_ = images.mapping_->bytes();
  IndexReader reader(images, images.IndexBytes(images.ReadHeader()));
  return std::string(reader.Text(reader.Value<uint32_t>()));
}

PackedHeader PackedImages::ReadHeader() const {
  PackedHeader header;
  if (file_.size() < sizeof(header)) Fail("it is shorter than its header");
  std::memcpy(&header, file_.data(), sizeof(header));
  if (header.magic != kPackedMagic) Fail("it is none, or of another version");
  if (header.checksum != Crc32c(file_.first(sizeof(header) - sizeof(header.checksum)))) {
    Fail("its header is damaged");
  }
  if (header.index_offset < sizeof(header) || header.index_offset > file_.size() ||
      header.index_bytes != file_.size() - header.index_offset) {
    Fail(fmt::format("it has {} bytes instead of {}", file_.size(),
                     header.index_offset + header.index_bytes));
  }
  return header;
}

std::span<const std::byte> PackedImages::IndexBytes(const PackedHeader& header) const {
  return file_.subspan(static_cast<size_t>(header.index_offset));
}

void PackedImages::ReadIndex() {
  const PackedHeader header = ReadHeader();
  const auto index = IndexBytes(header);
  if (header.index_checksum != Crc32c(index)) Fail("its index is damaged");
  // Nothing is reserved for more than the index has room for.
  if (header.classes > index.size() / sizeof(uint32_t) ||
      header.images > index.size() / sizeof(PackedEntry) ||
      header.left_out > index.size() / sizeof(PackedLeftOut)) {
    Fail("its index is too short for what it announces");
  }

  IndexReader reader(*this, index);
  kind_ = reader.Text(reader.Value<uint32_t>());
  for (uint32_t i = 0; i < header.classes; ++i) {
    classes_.push_back(reader.Text(reader.Value<uint32_t>()));
  }
  entries_.reserve(static_cast<size_t>(header.images));
  names_.reserve(static_cast<size_t>(header.images));
  uint64_t end = sizeof(header);
  for (uint64_t i = 0; i < header.images; ++i) {
    const auto entry = reader.Value<PackedEntry>();
    const std::string_view name = reader.Text(entry.name_bytes);
    const auto fail = [&](const char* problem) { Fail(fmt::format("image {} {}", name, problem)); };
    if (entry.offset != end || entry.bytes > header.index_offset - end) {
      fail("does not lie where it should");
    }
    end += entry.bytes;
    if (entry.label < 0 || static_cast<uint32_t>(entry.label) >= header.classes) {
      fail("is of no class");
    }
    if (entry.split > PackedSplit::kBoth) fail("is neither for training nor for tests");
    const uint64_t pixels = uint64_t{entry.height} * entry.width * entry.channels;
    const bool bare = entry.height != 0 || entry.width != 0 || entry.channels != 0;
    if (bare && (pixels == 0 || pixels != entry.bytes)) fail("is not as large as its pixels");
    entries_.push_back(entry);
    names_.push_back(name);
  }
  if (end != header.index_offset) Fail("it holds bytes that belong to no image");
  for (uint64_t i = 0; i < header.left_out; ++i) {
    const auto entry = reader.Value<PackedLeftOut>();
    if (entry.split > PackedSplit::kBoth) Fail("what it left out is of no split");
    const std::string_view name = reader.Text(entry.name_bytes);
    left_out_.push_back({name, reader.Text(entry.reason_bytes), entry.split});
  }
  if (reader.left() != 0) Fail("its index is longer than it should be");
}

PackedImages::Image PackedImages::Describe(int64_t index) const {
  const auto i = static_cast<size_t>(index);
  const PackedEntry& entry = entries_[i];
  return {.bytes = file_.subspan(static_cast<size_t>(entry.offset), entry.bytes),
          .label = entry.label,
          .split = entry.split,
          .name = names_[i],
          .height = entry.height,
          .width = entry.width,
          .channels = entry.channels};
}

PackedImages::Image PackedImages::Read(int64_t index) const {
  const Image image = Describe(index);
  if (mapping_) mapping_->Fetch(image.bytes);
  if (Crc32c(image.bytes) != entries_[static_cast<size_t>(index)].checksum) {
    Fail(fmt::format("image {} is damaged", image.name));
  }
  return image;
}

}  // namespace thinwire
