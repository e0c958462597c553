#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>
#include <vector>

#include "comm/failure.h"
#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace fs = std::filesystem;

namespace {

/// Whether a folder holds nothing but what a run makes before it has begun: one that failed then
/// can be started again.
bool IsUnused(const std::string& path) {
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename();
    const bool empty_folder = name == "checkpoints" && fs::is_empty(entry);
    if (name != ".lock" && !empty_folder) return false;
  }
  return true;
}

}  // namespace

RunFolder::RunFolder(const std::string& path, bool resume) : path_(path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (fs::exists(status) && !fs::is_directory(status)) {
    throw Error(fmt::format("output {} is a file, not a folder", path), "choose another --output",
                Error::Kind::kUsage);
  }
  if (!resume && fs::is_directory(status) && !IsUnused(path)) {
    throw Error(fmt::format("the run's folder {} exists already", path),
                "continue that run with --resume auto, or choose another --output",
                Error::Kind::kUsage);
  }
  fs::create_directories(checkpoints(), failure);
  if (failure) {
    throw Error(fmt::format("making the run's folder {}: {}", checkpoints(), failure.message()),
                "choose an --output that you may write to");
  }
  const std::string lock_file = path_ + "/.lock";
  lock_ = open(lock_file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) {
    throw Error(fmt::format("opening {}: {}", lock_file, std::strerror(errno)),
                "choose an --output that you may write to");
  }
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    close(lock_);
    throw Error(fmt::format("another thinwire is training in {}", path_),
                "wait for it, stop it, or choose another --output");
  }
  token_ = fmt::format("{} {} {}\n", HostName(), getpid(),
                       std::chrono::system_clock::now().time_since_epoch().count());
  if (ftruncate(lock_, 0) != 0 ||
      pwrite(lock_, token_.data(), token_.size(), 0) != std::ssize(token_)) {
    const int error = errno;
    close(lock_);
    throw Error(fmt::format("writing {}: {}", lock_file, std::strerror(error)), FileRemedy(error));
  }
}

RunFolder::RunFolder(const std::string& path, const std::string& token)
    : path_(path), token_(token) {
  // Hosts that share a file system may see what others write a few seconds late.
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::ifstream file(path_ + "/.lock");
    const std::string seen{std::istreambuf_iterator<char>(file), {}};
    if (seen == token_) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw Error(fmt::format("the run's folder {} of rank 0 is not to be seen here", path_),
              "give an --output on a file system that all hosts share");
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) close(lock_);
}

Checkpoint LoadCheckpointToResume(const std::string& path, std::string* file) {
  if (!fs::is_directory(path)) {
    if (file != nullptr) *file = path;
    return CheckpointFolder::Load(path);
  }
  const std::string folder = fs::is_directory(path + "/checkpoints") ? path + "/checkpoints" : path;
  std::vector<std::string> skipped;
  std::optional<Checkpoint> newest = CheckpointFolder(folder, 1).LoadNewest(&skipped, file);
  if (!newest) {
    throw Error(fmt::format("{} holds no readable checkpoint", path),
                "name a run's folder or a .ckpt file");
  }
  return *std::move(newest);
}

Checkpoint LoadCheckpointOf(const std::string& path) {
  for (const char* best : {"/checkpoints/best.ckpt", "/best.ckpt"}) {
    if (fs::exists(path + best)) return CheckpointFolder::Load(path + best);
  }
  return LoadCheckpointToResume(path);
}

}  // namespace thinwire
