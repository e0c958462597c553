// The training loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "datasets/batch_pipeline.h"
#include "layers/network.h"
#include "optim/optimizer.h"
#include "train/batch_upload.h"
#include "train/evaluation.h"
#include "train/image_memory.h"
#include "train/progress.h"
#include "train/ranks.h"
#include "train/run_folder.h"
#include "train/run_logs.h"
#include "train/saved_run.h"
#include "train/settings.h"
#include "train/step_profiler.h"

namespace thinwire {

/// A run's images.
struct Images {
  Dataset train, test;
  std::shared_ptr<const ImageMemory> memory = {};  // of both, if they are kept
};

/// @throws Error as LoadDataset.
Images LoadImages(const Settings& settings);

/// One rank of a run: from its settings, or from a checkpoint of itself, to its last step. All
/// ranks do the same; rank 0 also prints, logs, and writes what is common.
class Trainer {
 public:
  /// Plans the networks, and restores `saved` if there is one. Rank and images must outlive it.
  /// @throws Error if the settings do not fit the data or the checkpoint, or if ranks differ.
  Trainer(const Settings& settings, const RunFolder& folder, const std::optional<SavedRun>& saved,
          Rank& rank, const Images& images);

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
    double gradient_squares = 0;       // their sum before clipping; only of logging steps
    double forward = 0, backward = 0;  // seconds
  };
  /// A batch whose loss has not been read.
  struct TrainedBatch {
    int64_t index = 0;  // in its epoch
    int64_t rows = 0;
    uint64_t pass = 0;  // what seeds its dropout
  };

  bool logs_step(int64_t step) const { return step % settings_.log_interval == 0; }
  bool measures_step(int64_t step) const {
    return settings_.measure_interval > 0 && step % settings_.measure_interval == 0;
  }
  int64_t epochs() const;
  int64_t last_step() const;
  /// Steps that the epochs so far have now; differs from step_ by what a change of the ranks'
  /// number has made of their length.
  int64_t schedule_step() const;

  void AllocateBuffers();
  /// @throws Error (on all ranks) if ranks have other data or another model.
  void CompareModels();
  PipelineOptions MakePipelineOptions() const;
  StepResult Step();
  /// A batch, and how long the host waited for it.
  struct ReadyBatch {
    Batch batch;
    double waited = 0;  // seconds
  };
  ReadyBatch TakeBatch();
  /// Puts the next batch where the network reads it. @return Its rows.
  int64_t UploadNextBatch();
  /// Brings the next batch to a device that computes meanwhile.
  void UploadAhead();
  /// The gradient becomes the sum over the step's batches, of which it is the last one's.
  void AddAccumulated(const Range& range);
  TrainedBatch TrainOnBatch(int64_t rows, float gradient_scale, int64_t part, StepResult& result);
  /// Of the last batches, which are read then. @throws Error if one is not finite.
  void ReadLosses(std::vector<TrainedBatch>& batches, StepResult& result);
  /// Names the first layer that is not finite. @param present Whether the network has the batch.
  [[noreturn]] void ThrowNonFiniteLoss(double loss, const TrainedBatch& batch, bool present);
  /// @throws Error as the optimizer's, or that of the rank whose failure is behind it.
  void CheckStep();
  void ShowStep(const StepResult& result);
  /// Names a batch's images that were left out, once in a run, and counts them.
  void CountUnreadable(const Batch& batch);
  void FinishEpoch(double learning_rate);
  /// While `body` runs, `state` holds the mean of all ranks' running statistics.
  void WithAverageStatistics(View state, const std::function<void()>& body);
  Evaluation EvaluateTestSet();
  Evaluation EvaluateAverage();
  /// @throws Error naming running statistics that have become NaN or infinite, which a loss need
  /// not show.
  void CheckStatistics() const;
  void Save(bool best);
  void StorePosition(Checkpoint& common, Checkpoint& own);
  void StoreWeights(Checkpoint& common, Checkpoint& own);
  void Restore(const SavedRun& saved);
  void RestorePosition(const SavedRun& saved);

  Settings settings_;
  ScheduleOptions schedule_;
  CheckpointFolder checkpoints_;
  Rank& rank_;
  Device& device_;
  Communicator& communicator_;
  const Images& images_;
  LayerGraph graph_;
  ParameterArena arena_;
  std::unique_ptr<Optimizer> optimizer_;
  Network network_, test_network_;
  Buffer norm_, clip_scale_;               // one number each
  Buffer accumulated_;                     // --grad-accum-steps
  bool starts_early_ = false;              // sending this batch's gradients, as they become final
  bool accumulates_ = false;               // and there have been other batches this step
  bool update_waits_ = true;               // for the device, as the last one did; at first unknown
  Buffer average_values_, average_state_;  // --model-ema
  Buffer own_state_;                       // this rank's statistics while others take their place
  int64_t batches_per_epoch_ = 0, steps_per_epoch_ = 0;

  // Where the run is; the checkpoint holds all of it.
  int64_t step_ = 0;           // updates done
  int64_t epoch_ = 0;          // of the next batch, counted from 0
  int64_t batch_index_ = 0;    // of the next batch within its epoch
  Evaluation epoch_training_;  // the epoch's batches so far, of this rank
  double best_top1_ = -1;      // of the test set

  StepProfiler profiler_;
  ProgressLine progress_;
  std::unique_ptr<BatchPipeline> pipeline_;
  std::unique_ptr<BatchUpload> upload_;
  std::optional<ReadyBatch> ahead_;  // the next, which is on its way; counts with its own step
  std::unique_ptr<RunLogs> logs_;    // rank 0's
  int64_t saved_step_ = -1;
  double epoch_started_ = 0, logged_at_ = 0, backward_started_ = 0;  // seconds
  int64_t images_this_epoch_ = 0, images_since_log_ = 0;
  int64_t steps_this_epoch_ = 0, steps_since_log_ = 0;
  double data_this_epoch_ = 0, data_since_log_ = 0;  // seconds that waited for images
  int64_t unreadable_this_epoch_ = 0;                // images of this rank that were left out
  std::string images_in_memory_;                     // as it was last printed
};

/// The model that the settings describe, for images and classes of a data set.
/// @throws Error (usage) if the settings do not fit the data set.
LayerGraph BuildModelFor(const Settings& settings, const Dataset& dataset);

/// Copies a checkpoint's parameters and running statistics into the arena: those of the weights'
/// average (EMA) if the checkpoint has one and `average` asks for it.
/// @throws Error naming a tensor that is missing or of another size.
void RestoreWeights(const Checkpoint& checkpoint, bool average, ParameterArena& arena);

}  // namespace thinwire
