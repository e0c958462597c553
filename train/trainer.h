// The training loop.
#pragma once

#include <memory>
#include <optional>

#include "datasets/batch_pipeline.h"
#include "layers/network.h"
#include "optim/optimizer.h"
#include "train/checkpoint.h"
#include "train/evaluation.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/run_logs.h"
#include "train/settings.h"

namespace thinwire {

/// One run: from its settings, or from a checkpoint of itself, to its last step.
class Trainer {
 public:
  /// Loads the data, plans the networks, and restores `checkpoint` if there is one.
  /// @throws Error if the settings do not fit the data or the checkpoint.
  Trainer(const Settings& settings, const RunFolder& folder,
          const std::optional<Checkpoint>& checkpoint);

  /// Trains to the end.
  /// @return 0, or 128 + the signal (SIGINT, SIGTERM) that stopped it after a finished step and a
  ///     checkpoint.
  /// @throws Error on a non-finite loss, before the update that would spread it.
  int Run();

 private:
  /// What one update saw.
  struct StepResult {
    Evaluation training;
    double learning_rate = 0;
    double gradient_norm = 0;  // before clipping; only of logging steps
  };

  bool logs_step(int64_t step) const { return step % settings_.log_interval == 0; }
  int64_t epochs() const;
  int64_t last_step() const;

  StepResult Step();
  LossResult TrainOnBatch(const Batch& batch, float gradient_scale, int64_t part);
  void ShowStep(const StepResult& result);
  void FinishEpoch(double learning_rate);
  Evaluation EvaluateTestSet();
  Evaluation EvaluateAverage();
  void Save(bool best);
  Checkpoint MakeCheckpoint();
  void Restore(const Checkpoint& checkpoint);

  Settings settings_;
  ScheduleOptions schedule_;
  CheckpointFolder checkpoints_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> communicator_;
  Dataset train_set_, test_set_;
  LayerGraph graph_;
  ParameterArena arena_;
  std::unique_ptr<Optimizer> optimizer_;
  Network network_, test_network_;
  Buffer norm_, clip_scale_;               // one number each
  Buffer accumulated_;                     // --grad-accum-steps
  Buffer average_values_, average_state_;  // --model-ema
  int64_t batches_per_epoch_ = 0, steps_per_epoch_ = 0;

  // Where the run is; the checkpoint holds all of it.
  int64_t step_ = 0;           // updates done
  int64_t epoch_ = 0;          // of the next batch, counted from 0
  int64_t batch_index_ = 0;    // of the next batch within its epoch
  Evaluation epoch_training_;  // the epoch's batches so far
  double best_top1_ = -1;      // of the test set

  ProgressLine progress_;
  std::unique_ptr<BatchPipeline> pipeline_;
  std::unique_ptr<RunLogs> logs_;
  int64_t saved_step_ = -1;
  double epoch_started_ = 0, logged_at_ = 0;  // seconds
  int64_t images_this_epoch_ = 0, images_since_log_ = 0;
};

/// Settings without those that a resumed run may choose anew, because they do not change what it
/// computes: where it writes, when it stops and logs, how many threads it has.
Settings LastingSettings(const Settings& settings);

/// The model that the settings describe, for images and classes of a data set.
/// @throws Error (usage) if the settings do not fit the data set.
LayerGraph BuildModelFor(const Settings& settings, const Dataset& dataset);

/// Copies a checkpoint's parameters and running statistics into the arena: those of the weights'
/// average (EMA) if the checkpoint has one and `average` asks for it.
/// @throws Error naming a tensor that is missing or of another size.
void RestoreWeights(const Checkpoint& checkpoint, bool average, ParameterArena& arena);

}  // namespace thinwire
