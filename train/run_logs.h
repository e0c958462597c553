// Everything that a run writes down about its course, in all three forms at once.
#pragma once

#include <optional>

#include "train/evaluation.h"
#include "train/metrics.h"
#include "train/run_folder.h"
#include "train/tensorboard.h"

namespace thinwire {

/// One logging step.
struct StepRecord {
  int64_t step = 0;   // counted from 1, after the step's update
  int64_t epoch = 0;  // counted from 1
  double loss = 0;    // mean over the step's images
  double gradient_norm = 0;
  double learning_rate = 0;
  double images_per_second = 0;
};

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
