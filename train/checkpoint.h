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
};

/// A checkpoint in memory as in its file; identical checkpoints give identical bytes.
std::vector<std::byte> SerializeCheckpoint(const Checkpoint& checkpoint);

/// @param name For messages.
/// @throws Error naming the file and remedy for anything corrupt, truncated, foreign or of a newer
///     version.
Checkpoint ParseCheckpoint(std::span<const std::byte> bytes, const std::string& name);

/// Atomic, without a second copy in memory. @throws Error with path and cause.
void WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint);
/// The same without a copy of the file. @throws Error as ParseCheckpoint, and if the file cannot
/// be read.
Checkpoint ReadCheckpoint(const std::string& path);

/// A run's checkpoints folder: step-00000123.ckpt files, the last `keep` of them, and best.ckpt.
class CheckpointFolder {
 public:
  /// @throws Error (usage) if `keep` is less than 1.
  CheckpointFolder(std::string folder, int64_t keep);

  /// Writes the file of the checkpoint's integer "step", and makes the folder if there is none.
  /// Once the file is durable it removes all but the last `keep`; files of later steps go too, as
  /// they belong to a past from which the run has turned back. `best` also makes it best.ckpt.
  /// Returns the path. @pre There is a "step", 0 or more.
  /// @throws Error with path and cause; the older files are then untouched.
  std::string Save(const Checkpoint& checkpoint, bool best);

  /// The newest checkpoint that is readable and whole; best.ckpt only if there is no other.
  /// Damaged ones are left out and told in `skipped`, a line each. Nothing if there is none: with
  /// `skipped` empty, the run is new. `path`, if given, receives the file's.
  std::optional<Checkpoint> LoadNewest(std::vector<std::string>* skipped,
                                       std::string* path = nullptr) const;

  static Checkpoint Load(const std::string& path) { return ReadCheckpoint(path); }

 private:
  /// The files of steps, by step.
  std::map<int64_t, std::string> StepFiles() const;

  std::string folder_;
  int64_t keep_;
};

}  // namespace thinwire
