#include "train/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "kernels/error.h"

namespace thinwire {
namespace {

// read and write take at most about 2 GiB a call.
constexpr size_t kLargestTransfer = size_t{1} << 30;

}  // namespace

std::string FileRemedy(int error) {
  switch (error) {
    case ENOSPC:
      return "the disk is full: free some space, or choose a folder on another disk";
    case EDQUOT:
      return "your disk quota is used up: delete something, or choose another folder";
    case EFBIG:
      return "raise the limit on the size of files (ulimit -f)";
    case EACCES:
    case EPERM:
      return "check the permissions, or choose a folder that you may write to";
    case EROFS:
      return "choose a folder that is not mounted read-only";
    case ENOENT:
      return "check the path";
    case ENOTDIR:
      return "a part of the path is a file: check the path";
    case EISDIR:
      return "give the path of a file, not of a folder";
    case EMFILE:
    case ENFILE:
      return "raise the limit on open files (ulimit -n)";
    case EIO:
      return "the disk fails: check the system's log";
    default:
      return "";
  }
}

AtomicFile::AtomicFile(std::string path, int64_t size)
    : path_(std::move(path)), part_(path_ + ".part"), size_(size) {
  struct stat status;
  if (::stat(path_.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
    errno = EISDIR;
    Check(false);
  }
  do {
    descriptor_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EINTR);
  Check(descriptor_ >= 0);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!committed_) ::unlink(part_.c_str());
}

void AtomicFile::Check(bool success) const {
  if (success) return;
  const int error = errno;
  std::string remedy = FileRemedy(error);
  if (error == ENOSPC || error == EDQUOT) {
    remedy += fmt::format("; {} bytes more are needed", size_ - written_);
  }
  throw Error(fmt::format("cannot write {}: {}", path_, std::strerror(error)), remedy);
}

void AtomicFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::write(descriptor_, bytes.data(), std::min(bytes.size(), kLargestTransfer));
    if (count < 0 && errno == EINTR) continue;
    Check(count >= 0);
    written_ += count;
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void AtomicFile::Commit() {
  Check(::fsync(descriptor_) == 0);
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  Check(closed == 0);
  Check(::rename(part_.c_str(), path_.c_str()) == 0);
  committed_ = true;
  SyncFolderOf(path_);
}

void WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path, static_cast<int64_t>(bytes.size()));
  file.Write(bytes);
  file.Commit();
}

void SyncFolderOf(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? std::string(".") : parent.string();
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int error = descriptor < 0 || ::fsync(descriptor) != 0 ? errno : 0;
  if (descriptor >= 0) ::close(descriptor);
  // Some file systems cannot sync folders, and a folder may be writable but not readable.
  if (error == EINVAL || error == ENOTSUP || error == EACCES) error = 0;
  if (error != 0) {
    throw Error(fmt::format("cannot sync folder {}: {}", folder, std::strerror(error)),
                FileRemedy(error));
  }
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK the opening of a pipe would wait for a writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) Fail(errno);
  struct stat status;
  int error = ::fstat(descriptor_, &status) != 0 ? errno : 0;
  if (error == 0 && S_ISDIR(status.st_mode)) error = EISDIR;
  const bool regular = error == 0 && S_ISREG(status.st_mode);
  if (!regular) ::close(descriptor_);  // a destructor does not run after its constructor has failed
  if (error != 0) Fail(error);
  if (!regular) {
    throw Error(fmt::format("cannot read {}: it is a pipe or a device", path_),
                "give the path of a file");
  }
  size_ = status.st_size;
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::Fail(int error) const {
  throw Error(fmt::format("cannot read {}: {}", path_, std::strerror(error)), FileRemedy(error));
}

void InputFile::Read(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::read(descriptor_, bytes.data(), std::min(bytes.size(), kLargestTransfer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(errno);
    if (count == 0) {
      throw Error(fmt::format("cannot read {}: it has become shorter meanwhile", path_),
                  "wait until it is written");
    }
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

std::vector<std::byte> ReadFile(const std::string& path, int64_t max_bytes) {
  InputFile file(path);
  if (file.size() > max_bytes) {
    throw Error(fmt::format("cannot read {}: it has {} bytes, more than the {} that such a file "
                            "may have",
                            path, file.size(), max_bytes),
                "check the path");
  }
  std::vector<std::byte> bytes(static_cast<size_t>(file.size()));
  file.Read(bytes);
  return bytes;
}

}  // namespace thinwire
