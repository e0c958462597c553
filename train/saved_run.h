// Checkpoints of several ranks: a file of what is common, and one of each rank's own.
//
// The ranks' files are written, and durable, before the common one, which holds their checksums: so
// a common file that is there is whole, and files of different saves are never taken for one
// another. One rank alone keeps its own part in the common file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "train/checkpoint.h"

namespace thinwire {

/// A checkpoint to go on from.
class SavedRun {
 public:
  /// @param path The common file's. @param common Its content.
  SavedRun(std::string path, Checkpoint common);
  /// Reads the common file. @throws Error as ReadCheckpoint.
  explicit SavedRun(const std::string& path) : SavedRun(path, ReadCheckpoint(path)) {}

  const std::string& path() const { return path_; }
  const Checkpoint& common() const { return *common_; }
  /// How many ranks wrote it.
  int64_t ranks() const { return ranks_; }
  /// What saved rank `rank` had of its own; of one rank alone the common content.
  /// @throws Error naming its file if it is missing, damaged, or not of this save.
  std::shared_ptr<const Checkpoint> LoadRank(int64_t rank) const;

 private:
  std::string path_;
  std::shared_ptr<const Checkpoint> common_;
  int64_t ranks_ = 1;
};

/// Saves a checkpoint together, all ranks at once. `common` counts on rank 0 alone, and its integer
/// "step" is the same as `step` on all.
/// @throws Error with path and cause on the rank whose file fails; older checkpoints are untouched.
void SaveRun(CheckpointFolder& folder, Communicator& communicator, int64_t step, Checkpoint common,
             Checkpoint own, bool best);

}  // namespace thinwire
