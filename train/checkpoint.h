// Checkpoints: everything that a run needs to go on as if it had never stopped.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// Named vectors and facts. Vectors are stored per tensor ("momentum/layer1.0.conv1.weight"), so
/// that they survive a change of the arena's layout.
struct Checkpoint {
  std::map<std::string, int64_t> integers;     // "step", "epoch", "batch_index", …
  std::map<std::string, double> numbers;       // "best_top1", …
  std::map<std::string, std::string> strings;  // "model", "settings" (TOML), …
  std::map<std::string, std::vector<float>> vectors;
};

/// The file format: magic, version, header, payload, and a checksum over all of it; identical
/// checkpoints give identical bytes. @throws Error naming the file and remedy for anything corrupt,
/// truncated, foreign or of a newer version.
std::vector<std::byte> SerializeCheckpoint(const Checkpoint& checkpoint);
Checkpoint ParseCheckpoint(std::span<const std::byte> bytes, const std::string& name);

/// A run's checkpoints folder: step-00000123.ckpt files, the last `keep` of them, and best.ckpt.
class CheckpointFolder {
 public:
  CheckpointFolder(std::string folder, int64_t keep);
  /// Atomic; then removes what is older than the last `keep`. `best` also writes best.ckpt.
  void Save(const Checkpoint& checkpoint, bool best);
  /// The newest checkpoint that is readable and whole, skipping (and reporting in `skipped`)
  /// damaged ones; nothing if there is none.
  std::optional<Checkpoint> LoadNewest(std::vector<std::string>* skipped) const;
  static Checkpoint Load(const std::string& path);

 private:
  std::string folder_;
  int64_t keep_;
};

}  // namespace thinwire
