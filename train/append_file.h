// A file that grows by whole records.
#pragma once

#include <string>
#include <string_view>

namespace thinwire {

/// A file open for appending. Every record reaches the system with its Append, so a killed process
/// loses nothing, and at worst a crash of the machine tears the last record. Move-only.
class AppendFile {
 public:
  /// What to do about a file that is there already.
  enum class Existing { kAppend, kEmpty, kRefuse };

  /// @throws Error with path and cause.
  AppendFile(std::string path, Existing existing);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&& other) = delete;
  ~AppendFile();

  const std::string& path() const { return path_; }
  /// @throws Error with path and cause, for example on a full disk.
  void Append(std::string_view record);

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace thinwire
