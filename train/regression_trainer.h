// The training loop of the logistic regression.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "datasets/libsvm.h"
#include "models/logistic_regression.h"
#include "optim/optimizer.h"
#include "train/evaluation.h"
#include "train/progress.h"
#include "train/ranks.h"
#include "train/run_folder.h"
#include "train/run_logs.h"
#include "train/saved_run.h"
#include "train/settings.h"
#include "train/step_profiler.h"

namespace thinwire {

/// A run's rows; the test set may have none.
struct RegressionData {
  SparseDataset train, test;
};

/// Reads the files that the settings name: LIBSVM's, or images as rows of pixels.
/// @throws Error as LoadLibsvm and LoadDataset, and if training and test set do not fit.
RegressionData LoadRegressionData(const Settings& settings);

/// One rank of a run on a contiguous block of the rows: with all of them in each step, or with
/// batches of an order that is shuffled every epoch. x starts at 0. What is logged is the full
/// objective, f = the mean over ranks of their rows' mean loss with the regulariser, and the norm
/// of its gradient, both at the point that the step leads to.
class RegressionTrainer {
 public:
  /// Restores `saved` if there is one. Rank and data must outlive it.
  /// @throws Error if the settings do not fit the data or the checkpoint, or if ranks differ.
  RegressionTrainer(const Settings& settings, const RunFolder& folder,
                    const std::optional<SavedRun>& saved, Rank& rank, const RegressionData& data);

  /// Trains to the end.
  /// @return 0, or 128 + the signal (SIGINT, SIGTERM) that stopped it after a finished step and a
  ///     checkpoint.
  /// @throws Error on a loss that is not finite.
  int Run();

 private:
  bool full_batch() const { return !settings_.batch_size; }
  int64_t batch_rows() const { return settings_.batch_size.value_or(rows_.rows); }
  int64_t epochs() const;
  int64_t last_step() const;
  int64_t schedule_step() const { return epoch_ * steps_per_epoch_ + batch_index_; }
  bool measures_step(int64_t step) const {
    return settings_.measure_interval > 0 && step % settings_.measure_interval == 0;
  }

  void CompareData();
  void TakeGradient();
  /// The parameters' bytes.
  std::vector<std::byte> Point() const;
  void Step();
  void LogStep();
  /// The full objective and, unless `gradient_norm` is null, the norm of its gradient.
  Evaluation Objective(double* gradient_norm);
  Evaluation EvaluateTestSet();
  void FinishEpoch();
  void Save();
  void Restore(const SavedRun& saved);

  Settings settings_;
  ScheduleOptions schedule_;
  CheckpointFolder checkpoints_;
  Rank& rank_;
  Device& device_;
  Communicator& communicator_;
  const RegressionData& data_;
  std::vector<int64_t> starts_;
  SparseRows rows_;  // of this rank
  ParameterArena arena_;
  std::unique_ptr<Optimizer> optimizer_;
  LogisticRegression model_;
  std::optional<LogisticRegression> test_model_;
  Buffer norm_, clip_scale_;  // one number each
  Buffer known_gradient_;     // of all rows, at known_point_
  std::vector<std::byte> known_point_;
  std::vector<int64_t> order_;
  int64_t order_epoch_ = -1;
  int64_t steps_per_epoch_ = 1;

  // Where the run is; the checkpoint holds all of it.
  int64_t step_ = 0, epoch_ = 0, batch_index_ = 0;

  double learning_rate_ = 0;
  StepProfiler profiler_;
  ProgressLine progress_;
  std::unique_ptr<RunLogs> logs_;  // rank 0's
  int64_t saved_step_ = -1, logged_step_ = 0;
  double epoch_started_ = 0, logged_at_ = 0, gradient_seconds_ = 0;  // seconds
};

}  // namespace thinwire
