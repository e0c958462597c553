#include "train/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "kernels/error.h"

namespace thinwire {
namespace fs = std::filesystem;

RunFolder::RunFolder(const std::string& path, bool resume) : path_(path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (fs::exists(status) && !fs::is_directory(status)) {
    throw Error(fmt::format("output {} is a file, not a folder", path), "choose another --output",
                Error::Kind::kUsage);
  }
  if (!resume && fs::is_directory(status) && !fs::is_empty(path, failure)) {
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
}

RunFolder::~RunFolder() { close(lock_); }

Checkpoint LoadCheckpointToResume(const std::string& path) {
  if (!fs::is_directory(path)) return CheckpointFolder::Load(path);
  const std::string folder = fs::is_directory(path + "/checkpoints") ? path + "/checkpoints" : path;
  std::vector<std::string> skipped;
  std::optional<Checkpoint> newest = CheckpointFolder(folder, 1).LoadNewest(&skipped);
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
