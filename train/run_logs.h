// Everything that a run writes down about its course, in all three forms at once.
#pragma once

#include <optional>

#include "comm/communicator.h"
#include "optim/optimizer.h"
#include "train/evaluation.h"
#include "train/metrics.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/tensorboard.h"

namespace thinwire {

/// One logging step.
struct StepRecord {
  int64_t step = 0;   // counted from 1, after the step's update
  int64_t epoch = 0;  // counted from 1
  double loss = 0;    // mean over the step's images, of all ranks
  double gradient_norm = 0;
  double learning_rate = 0;
  double images_per_second = 0;  // of all ranks
  /// What it cost so far and at last, and what was measured of it.
  StepCosts costs = {};
  Traffic traffic = {};
  bool measured = false;             // the costs' contraction and mismatch are this step's
  double forward = 0, backward = 0;  // seconds
  double data = 0;  // seconds of a step, since the last record, that waited for images
};

/// Bytes that were sent, or received, for the training itself: all but what is only logged.
int64_t WireBytesSent(const Traffic& traffic);
int64_t WireBytesReceived(const Traffic& traffic);

/// One epoch.
struct EpochRecord {
  int64_t epoch = 0;  // counted from 1
  int64_t step = 0;
  double learning_rate = 0;
  Evaluation training;
  std::optional<Evaluation> test;
  std::optional<Evaluation> average_test;  // of the weights' average (EMA)
  double seconds = 0;                      // of training alone
  double images_per_second = 0;
};

/// Puts what one step costs a rank into a status, and how far all `steps` together have compressed
/// vectors of `parameters` elements.
void ShowCosts(const StepCosts& costs, int64_t parameters, int64_t steps, ProgressStatus& status);

/// steps.jsonl, summary.csv and TensorBoard events of a run.
class RunLogs {
 public:
  /// @param resumed_step, resumed_epochs Steps and epochs done by a run that goes on; what the
  ///     files say about later ones is removed. Empty and 0 for a new run.
  RunLogs(const RunFolder& folder, std::optional<int64_t> resumed_step, int64_t resumed_epochs);

  void Write(const StepRecord& record);
  void Write(const EpochRecord& record);

 private:
  JsonLinesWriter steps_;
  CsvWriter summary_;
  TensorBoardWriter events_;
};

}  // namespace thinwire
