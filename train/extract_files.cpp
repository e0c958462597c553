#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <string_view>
#include <vector>

#include "kernels/error.h"
#include "train/atomic_file.h"
#include "train/download.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class TarReader {
 public:
  TarReader(const std::string& path, int64_t max_bytes)
      : path_(path), left_(max_bytes), archive_(archive_read_new(), archive_read_free) {
    constexpr size_t kBlock = 1 << 16;
    Check(archive_read_support_filter_gzip(archive_.get()));
    Check(archive_read_support_format_tar(archive_.get()));
    Check(archive_read_open_filename(archive_.get(), path.c_str(), kBlock));
  }

  /// Goes on to the next entry; null at the end.
  archive_entry* Next() {
    archive_entry* entry = nullptr;
    const int code = archive_read_next_header(archive_.get(), &entry);
    if (code == ARCHIVE_EOF) return nullptr;
    Check(code);
    // What is passed over has to be unpacked, too.
    const int64_t size = archive_entry_size(entry);
    if (size < 0 || size > left_) Fail("it unpacks to more than it should");
    left_ -= size;
    return entry;
  }

  /// Writes the entry's bytes.
  void Copy(archive_entry* entry, const std::string& to) {
    constexpr size_t kPiece = 1 << 20;
    AtomicFile file(to, archive_entry_size(entry));
    std::vector<std::byte> piece(kPiece);
    for (;;) {
      const la_ssize_t count = archive_read_data(archive_.get(), piece.data(), piece.size());
      if (count == 0) break;
      if (count < 0) Check(static_cast<int>(count));
      file.Write(std::span(piece).first(static_cast<size_t>(count)));
    }
    file.Commit();
  }

  [[noreturn]] void Fail(const std::string& problem) const {
    throw Error(fmt::format("cannot unpack {}: {}", path_, problem),
                "remove it and download it again");
  }

 private:
  void Check(int code) const {
    if (code == ARCHIVE_OK) return;
    const char* const message = archive_error_string(archive_.get());
    Fail(message != nullptr ? message : "it is damaged");
  }

  const std::string& path_;
  int64_t left_;
  std::unique_ptr<archive, decltype(&archive_read_free)> archive_;
};

bool LeavesFolder(const fs::path& path) {
  return path.is_absolute() ||
         std::any_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

}  // namespace

void ExtractFiles(const std::string& archive, const std::string& folder,
                  const std::vector<std::string>& names, int64_t max_bytes) {
  std::set<std::string, std::less<>> missing(names.begin(), names.end());
  TarReader reader(archive, max_bytes);
  while (archive_entry* const entry = reader.Next()) {
    const char* const text = archive_entry_pathname(entry);
    if (text == nullptr) reader.Fail("a file in it has no name");
    if (LeavesFolder(text)) {
      reader.Fail(fmt::format("the path {} in it leads out of the folder", text));
    }
    const std::string name = fs::path(text).lexically_normal().generic_string();
    const auto wanted = missing.find(name);
    if (wanted == missing.end()) continue;
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr) {
      reader.Fail(fmt::format("{} in it is no plain file", name));
    }
    const fs::path to = fs::path(folder) / name;
    std::error_code code;
    fs::create_directories(to.parent_path(), code);
    if (code) {
      throw Error(
          fmt::format("cannot make the folder {}: {}", to.parent_path().string(), code.message()),
          "");
    }
    reader.Copy(entry, to.string());
    missing.erase(wanted);
  }
  if (!missing.empty()) reader.Fail(fmt::format("it lacks {}", *missing.begin()));
}

}  // namespace thinwire
