// Files that appear whole under their final name, or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// A file being written as PATH.part, which Commit syncs and renames to PATH. Unless that happens,
/// the destructor removes it and what stood at PATH is untouched. A PATH.part that a killed
/// process has left is overwritten.
class AtomicFile {
 public:
  /// @param size Bytes to come, for messages about a full disk.
  /// @throws Error with path and cause.
  AtomicFile(std::string path, int64_t size);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// @throws Error with path and cause, for example on a full disk.
  void Write(std::span<const std::byte> bytes);
  /// The file is durable on return. @throws Error with path and cause.
  void Commit();

 private:
  void Check(bool success) const;

  std::string path_, part_;
  int64_t size_, written_ = 0;
  int descriptor_ = -1;
  bool committed_ = false;
};

/// Writes a whole file that is in memory. @throws Error with path and cause.
void WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes);

/// Makes the names in the folder of `path` durable. @throws Error with path and cause.
void SyncFolderOf(const std::string& path);

/// The whole file. @throws Error with path and cause, also for a folder or a file above max_bytes.
std::vector<std::byte> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 40);

/// What to do about errno code `error` after file work, for the remedy of an Error; may be empty.
std::string FileRemedy(int error);

}  // namespace thinwire
