// The folder that a training run leaves behind.
#pragma once

#include <string>

#include "train/checkpoint.h"

namespace thinwire {

/// settings.toml, steps.jsonl, summary.csv, TensorBoard events and checkpoints/ of one run. Holding
/// the object holds a lock: no other process writes to the same run. Of several processes with the
/// ranks of one run, that of rank 0 holds it, and the others look for it.
class RunFolder {
 public:
  /// Makes the folder, or opens an existing one if `resume`.
  /// @throws Error (usage) if it holds files and `resume` is false, so that no run is overwritten
  ///     silently; Error if it cannot be written or another process trains in it.
  RunFolder(const std::string& path, bool resume);
  /// The folder that another process of the same run holds, by its token.
  /// @throws Error if this process does not see it.
  RunFolder(const std::string& path, const std::string& token);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();

  /// What tells this folder, held now, from all others; it stands in the lock's file.
  const std::string& token() const { return token_; }
  const std::string& path() const { return path_; }
  std::string settings_file() const { return path_ + "/settings.toml"; }
  std::string classes_file() const { return path_ + "/classes.txt"; }
  std::string steps_file() const { return path_ + "/steps.jsonl"; }
  std::string summary_file() const { return path_ + "/summary.csv"; }
  std::string checkpoints() const { return path_ + "/checkpoints"; }

 private:
  std::string path_, token_;
  int lock_ = -1;
};

/// A checkpoint by the name of its file, or the best (else the newest) one of a run's folder.
/// @throws Error if there is none.
Checkpoint LoadCheckpointOf(const std::string& path);

/// As above, but the newest of a run's folder: the one to go on from.
/// `file`, if given, receives the path of its file.
Checkpoint LoadCheckpointToResume(const std::string& path, std::string* file = nullptr);

}  // namespace thinwire
