// Files that appear whole under their final name, or not at all, and the reading of files.
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

/// A regular file being read from front to back.
class InputFile {
 public:
  /// @throws Error with path and cause, also for a folder, a pipe or a device.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// In bytes, when the file was opened.
  int64_t size() const { return size_; }
  /// Fills `bytes` with the next ones. @throws Error with path and cause, also at the file's end.
  void Read(std::span<std::byte> bytes);

 private:
  [[noreturn]] void Fail(int error) const;

  std::string path_;
  int64_t size_ = 0;
  int descriptor_ = -1;
};

/// The whole file. @throws Error with path and cause, also for a folder or a file above max_bytes.
std::vector<std::byte> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 40);

/// What to do about errno code `error` after file work, for the remedy of an Error; may be empty.
std::string FileRemedy(int error);

}  // namespace thinwire
