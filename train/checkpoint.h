// Checkpoints: everything that a run needs to go on as if it had never stopped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// Named vectors and facts, all stored bit for bit. Vectors are stored per tensor
/// ("momentum/layer1.0.conv1.weight"), so that they survive a change of the arena's layout.
struct Checkpoint {
  std::map<std::string, int64_t> integers;     // "step", "epoch", "batch_index", …
  std::map<std::string, double> numbers;       // "best_top1", …
  std::map<std::string, std::string> strings;  // "model", "settings" (TOML), …
  std::map<std::string, std::vector<float>> vectors;
  std::map<std::string, std::vector<double>> wide_vectors;  // of a run with --dtype f64
};

/// A checkpoint in memory as in its file; identical checkpoints give identical bytes.
std::vector<std::byte> SerializeCheckpoint(const Checkpoint& checkpoint);

/// @param name For messages.
/// @throws Error naming the file and remedy for anything corrupt, truncated, foreign or of a newer
///     version.
Checkpoint ParseCheckpoint(std::span<const std::byte> bytes, const std::string& name);

/// Atomic, without a second copy in memory. Returns the file's checksum, its last four bytes.
/// @throws Error with path and cause.
uint32_t WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint);
/// The same without a copy of the file. `checksum`, unless null, receives the file's.
/// @throws Error as ParseCheckpoint, and if the file cannot be read.
Checkpoint ReadCheckpoint(const std::string& path, uint32_t* checksum = nullptr);

/// A run's checkpoints folder: step-00000123.ckpt files, the last `keep` of them, and best.ckpt. A
/// run of several ranks has step-00000123.rank-4.ckpt files besides, which the checkpoint of their
/// step and, if it is of that step, best.ckpt refer to.
class CheckpointFolder {
 public:
  /// @throws Error (usage) if `keep` is less than 1.
  CheckpointFolder(std::string folder, int64_t keep);

  /// Writes the file of the checkpoint's integer "step", and makes the folder if there is none.
  /// Once the file is durable it removes all but the last `keep`; files of later steps go too, as
  /// they belong to a past from which the run has turned back, and the ranks' files of steps that
  /// are not kept. `best` also makes it best.ckpt.
  /// Returns the path. @pre There is a "step", 0 or more.
  /// @throws Error with path and cause; the older files are then untouched.
  std::string Save(const Checkpoint& checkpoint, bool best);

  /// What several ranks do before they save a step: makes the folder, and removes what a past from
  /// which the run has turned back has left of this step, so that nothing refers to files that are
  /// about to change.
  void Prepare(int64_t step) const;
  /// Where the part of one rank is.
  std::string RankFile(int64_t step, int64_t rank) const;

  /// The newest checkpoint that is readable and whole; best.ckpt only if there is no other.
  /// Damaged ones are left out and told in `skipped`, a line each. Nothing if there is none: with
  /// `skipped` empty, the run is new. `path`, if given, receives the file's.
  std::optional<Checkpoint> LoadNewest(std::vector<std::string>* skipped,
                                       std::string* path = nullptr) const;

  static Checkpoint Load(const std::string& path) { return ReadCheckpoint(path); }

 private:
  /// The files of steps, by step.
  std::map<int64_t, std::string> StepFiles() const;
  void MakeFolder() const;
  /// Removes the ranks' files of all steps but these and best.ckpt's.
  void RemoveRankFiles(const std::map<int64_t, std::string>& kept);
  /// The step of best.ckpt, or -1.
  int64_t StepOfBest() const;

  std::string folder_;
  int64_t keep_;
  std::optional<int64_t> best_step_;  // of best.ckpt, or -1; empty: not looked up yet
};

}  // namespace thinwire
