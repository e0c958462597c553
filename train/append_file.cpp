#include "train/append_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

[[noreturn]] void Fail(const std::string& path, int error) {
  throw Error(fmt::format("cannot write {}: {}", path, std::strerror(error)), FileRemedy(error));
}

}  // namespace

AppendFile::AppendFile(std::string path, Existing existing) : path_(std::move(path)) {
  int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  if (existing == Existing::kEmpty) flags |= O_TRUNC;
  if (existing == Existing::kRefuse) flags |= O_EXCL;
  do {
    descriptor_ = ::open(path_.c_str(), flags, 0666);
  } while (descriptor_ < 0 && errno == EINTR);
  if (descriptor_ < 0) Fail(path_, errno);
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

AppendFile::~AppendFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AppendFile::Append(std::string_view record) {
  while (!record.empty()) {
    const ssize_t count = ::write(descriptor_, record.data(), record.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(path_, errno);
    record.remove_prefix(static_cast<size_t>(count));
  }
}

}  // namespace thinwire
