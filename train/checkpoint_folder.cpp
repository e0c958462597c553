#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "kernels/error.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-", kRank = ".rank-", kSuffix = ".ckpt",
                           kPart = ".part";
constexpr char kBest[] = "best.ckpt";

/// The step in the name step-<digits><suffix>, nothing for other names.
std::optional<int64_t> StepOf(std::string_view name, std::string_view suffix) {
  if (!name.starts_with(kPrefix) || !name.ends_with(suffix)) return std::nullopt;
  if (name.size() < kPrefix.size() + suffix.size()) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(suffix.size());
  int64_t step = 0;
  const char* const name_end = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data(), name_end, step);
  if (error != std::errc() || end != name_end || step < 0) return std::nullopt;
  return step;
}

/// The step in the name step-<digits>.rank-<digits>.ckpt, nothing for other names.
std::optional<int64_t> StepOfRankFile(std::string_view name) {
  const size_t rank = name.find(kRank);
  if (rank == name.npos || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string_view number = name.substr(rank + kRank.size());
  if (number.find_first_not_of("0123456789") != number.size() - kSuffix.size()) return std::nullopt;
  return StepOf(name.substr(0, rank), "");
}

/// Whether a killed process can have left it.
bool IsUnfinished(std::string_view name) {
  if (!name.ends_with(kPart)) return false;
  name.remove_suffix(kPart.size());
  return StepOf(name, kSuffix) || StepOfRankFile(name);
}

/// The names in a folder; none if it is not there.
std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(fmt::format("cannot read folder {}: {}", folder, error.message()),
                FileRemedy(error.value()));
  }
  return names;
}

/// Gives the file at `path` the name `link` too, atomically; false where the file system has no
/// hard links.
bool LinkAtomically(const std::string& path, const std::string& link) {
  const std::string part = link + ".part";
  ::unlink(part.c_str());
  if (::link(path.c_str(), part.c_str()) != 0) return false;
  const bool renamed = ::rename(part.c_str(), link.c_str()) == 0;
  ::unlink(part.c_str());  // rename leaves it where both are the same file already
  if (renamed) SyncFolderOf(link);
  return renamed;
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::string folder, int64_t keep)
    : folder_(std::move(folder)), keep_(keep) {
  if (keep < 1) {
    throw Error(fmt::format("cannot keep {} checkpoints in {}", keep, folder_),
                "the number of checkpoints to keep must be 1 or more", Error::Kind::kUsage);
  }
}

void CheckpointFolder::MakeFolder() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) {
    throw Error(fmt::format("cannot make folder {}: {}", folder_, error.message()),
                FileRemedy(error.value()));
  }
}

void CheckpointFolder::Prepare(int64_t step) const {
  MakeFolder();
  const std::map<int64_t, std::string> files = StepFiles();
  const auto found = files.find(step);
  if (found == files.end()) return;
  std::error_code error;
  if (!fs::remove(found->second, error) && error) {
    throw Error(fmt::format("cannot remove {}: {}", found->second, error.message()),
                FileRemedy(error.value()));
  }
  SyncFolderOf(found->second);
}

std::string CheckpointFolder::RankFile(int64_t step, int64_t rank) const {
  return fmt::format("{}/{}{:08}{}{}{}", folder_, kPrefix, step, kRank, rank, kSuffix);
}

std::string CheckpointFolder::Save(const Checkpoint& checkpoint, bool best) {
  MakeFolder();
  std::error_code error;
  const int64_t step = checkpoint.integers.at("step");
  const std::string path = fmt::format("{}/{}{:08}{}", folder_, kPrefix, step, kSuffix);
  WriteCheckpoint(path, checkpoint);
  if (best) {
    const std::string best_path = fmt::format("{}/{}", folder_, kBest);
    if (!LinkAtomically(path, best_path)) WriteCheckpoint(best_path, checkpoint);
    best_step_ = step;
  }

  // From here on failures only leave files too many, which the next call removes.
  std::map<int64_t, std::string> files = StepFiles();
  for (const auto& [other, file] : files) {
    if (other > step) fs::remove(file, error);
  }
  files.erase(files.upper_bound(step), files.end());
  for (; std::ssize(files) > keep_; files.erase(files.begin())) {
    fs::remove(files.begin()->second, error);
  }
  for (const std::string& name : NamesIn(folder_)) {
    if (IsUnfinished(name)) fs::remove(folder_ + "/" + name, error);
  }
  RemoveRankFiles(files);
  return path;
}

void CheckpointFolder::RemoveRankFiles(const std::map<int64_t, std::string>& kept) {
  for (const std::string& name : NamesIn(folder_)) {
    const std::optional<int64_t> step = StepOfRankFile(name);
    if (!step || kept.contains(*step)) continue;
    if (!best_step_) best_step_ = StepOfBest();
    std::error_code error;
    if (*step != *best_step_) fs::remove(folder_ + "/" + name, error);
  }
}

int64_t CheckpointFolder::StepOfBest() const {
  try {
    const Checkpoint best = ReadCheckpoint(fmt::format("{}/{}", folder_, kBest));
    const auto step = best.integers.find("step");
    return step == best.integers.end() ? -1 : step->second;
  } catch (const Error&) {
    return -1;  // there is none, or none that could be resumed from
  }
}

std::optional<Checkpoint> CheckpointFolder::LoadNewest(std::vector<std::string>* skipped,
                                                       std::string* path) const {
  std::vector<std::string> candidates;  // the last is tried first
  const std::string best = fmt::format("{}/{}", folder_, kBest);
  if (std::error_code error; fs::exists(best, error)) candidates.push_back(best);
  for (const auto& [step, file] : StepFiles()) candidates.push_back(file);
  for (; !candidates.empty(); candidates.pop_back()) {
    try {
      Checkpoint checkpoint = ReadCheckpoint(candidates.back());
      if (path != nullptr) *path = candidates.back();
      return checkpoint;
    } catch (const Error& error) {
      if (skipped != nullptr) skipped->push_back(error.what());
    }
  }
  return std::nullopt;
}

std::map<int64_t, std::string> CheckpointFolder::StepFiles() const {
  std::map<int64_t, std::string> files;
  for (const std::string& name : NamesIn(folder_)) {
    if (const auto step = StepOf(name, kSuffix)) files.emplace(*step, folder_ + "/" + name);
  }
  return files;
}

}  // namespace thinwire
