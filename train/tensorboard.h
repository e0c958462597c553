// TensorBoard event files, without TensorFlow: framed, checksummed records of protocol buffers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/append_file.h"

namespace thinwire {

/// Writes scalars for `tensorboard --logdir FOLDER`. TensorBoard reads all event files of a folder
/// as one run, so each start or resumption of a run has a file of its own.
class TensorBoardWriter {
 public:
  /// Makes a new file events.out.tfevents.TIME.HOST.PROCESS.N in `folder`, which must exist.
  /// @param resumed_step Empty for a new run. Else TensorBoard is told to forget what older files
  ///     say about greater steps, which the resumed run will write again.
  /// @throws Error with path and cause.
  TensorBoardWriter(const std::string& folder, std::optional<int64_t> resumed_step);

  /// One event: Write(100, {{"train/loss", 1.25}, {"train/learning_rate", 0.1}}). Values are
  /// stored as float32. @throws Error with path and cause, for example on a full disk.
  void Write(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

  const std::string& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

}  // namespace thinwire
