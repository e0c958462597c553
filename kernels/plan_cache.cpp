// The file: a line that says what it is, then for each key the CRC-32C of "KEY<tab>CHOICE" as eight
// hexadecimal digits, a space, and that text.
#include "kernels/plan_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <system_error>
#include <utility>

#include "kernels/crc32c.h"

namespace thinwire {
namespace {

constexpr const char* kHeader = "thinwire plans 1";
constexpr size_t kLargestFile = size_t{64} << 20;

std::string Checksum(const std::string& text) {
  return fmt::format("{:08x}", Crc32c(std::as_bytes(std::span(text))));
}

bool IsOneLine(const std::string& text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < ' '; });
}

void Say(const std::string& line) { fmt::print(stderr, "thinwire: {}\n", line); }

/// Not durably: what a crash of the machine leaves is checked, and can be found anew.
/// @return errno, or 0.
int WriteAll(int descriptor, const std::string& text) {
  for (size_t written = 0; written < text.size();) {
    const ssize_t count = ::write(descriptor, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    written += static_cast<size_t>(count);
  }
  return 0;
}

}  // namespace

/// Keeps other threads and processes out; they lock a file beside, which is never replaced.
class PlanCache::FileLock {
 public:
  explicit FileLock(const std::string& path) {
    if (path.empty()) return;
    descriptor_ = ::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) {
      error_ = errno;
      return;
    }
    // Where files cannot be locked, two may choose differently, and the last one's choice stays.
    while (::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~FileLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  int error() const { return error_; }

 private:
  int descriptor_ = -1, error_ = 0;
};

std::string PlanCache::DefaultPath() {
  const auto variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
  };
  if (const std::string folder = variable("XDG_CACHE_HOME"); !folder.empty()) {
    return folder + "/thinwire/plans";
  }
  const std::string home = variable("HOME");
  return home.empty() ? std::string() : home + "/.cache/thinwire/plans";
}

PlanCache::PlanCache(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  const FileLock lock(path_);
  if (lock.error() == 0) {
    Load();
  } else {
    GiveUp("lock", lock.error());
  }
}

void PlanCache::Choose(const std::string& key,
                       const std::function<bool(const std::string& choice)>& accept,
                       const std::function<std::string()>& choose) {
  if (AcceptsStored(key, accept)) return;
  const FileLock lock(path_);
  if (!path_.empty()) {
    Load();
    if (AcceptsStored(key, accept)) return;
  }
  const std::string choice = choose();
  if (choice.empty() || !IsOneLine(choice) || !IsOneLine(key)) return;
  entries_[key] = choice;
  if (!path_.empty()) Store();
}

bool PlanCache::AcceptsStored(const std::string& key,
                              const std::function<bool(const std::string& choice)>& accept) const {
  const auto found = entries_.find(key);
  return found != entries_.end() && accept(found->second);
}

bool PlanCache::Parse(const std::string& text, Entries& entries) {
  if (text.empty() || text.back() != '\n') return false;
  std::istringstream lines(text);
  std::string line;
  if (!std::getline(lines, line) || line != kHeader) return false;
  while (std::getline(lines, line)) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos || tab < 9 || line[8] != ' ') return false;
    if (line.substr(0, 8) != Checksum(line.substr(9))) return false;
    entries[line.substr(9, tab - 9)] = line.substr(tab + 1);
  }
  return true;
}

std::string PlanCache::Format(const Entries& entries) {
  std::string text = fmt::format("{}\n", kHeader);
  for (const auto& [key, choice] : entries) {
    const std::string line = fmt::format("{}\t{}", key, choice);
    text += fmt::format("{} {}\n", Checksum(line), line);
  }
  return text;
}

void PlanCache::Load() {
  std::error_code error;
  if (!std::filesystem::exists(path_, error)) return;
  if (!std::filesystem::is_regular_file(path_, error)) return GiveUp("read", EISDIR);
  std::ifstream file(path_, std::ios::binary);
  if (!file) return GiveUp("read", errno);
  std::ostringstream text;
  const bool small = std::filesystem::file_size(path_, error) <= kLargestFile && !error;
  if (small) text << file.rdbuf();
  Entries stored;
  if (small && Parse(text.str(), stored)) {
    for (auto& [key, choice] : stored) entries_[key] = std::move(choice);
    return;
  }
  Say(fmt::format("{} is damaged, or is no plan cache of this version; it is written anew", path_));
  Store();
}

void PlanCache::Store() {
  std::string part = path_ + ".XXXXXX";
  const int descriptor = ::mkstemp(part.data());
  if (descriptor < 0) return GiveUp("write", errno);
  ::fchmod(descriptor, 0644);
  int error = WriteAll(descriptor, Format(entries_));
  if (::close(descriptor) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(part.c_str(), path_.c_str()) != 0) error = errno;
  if (error == 0) return;
  ::unlink(part.c_str());
  GiveUp("write", error);
}

void PlanCache::GiveUp(const std::string& action, int error) {
  Say(fmt::format("cannot {} the plan cache {}: {}; plans are chosen for this run alone", action,
                  path_, std::strerror(error)));
  path_.clear();
}

}  // namespace thinwire
