// How a trainer's state goes into checkpoints and comes back.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "kernels/error.h"
#include "train/agreement.h"
#include "train/arena_vectors.h"
#include "train/optimizer_state.h"
#include "train/resume.h"
#include "train/trainer.h"

namespace thinwire {

void RestoreWeights(const Checkpoint& checkpoint, bool average, ParameterArena& arena) {
  const std::string prefix = average && HoldsVectors(checkpoint, "average/") ? "average/" : "";
  LoadVectors(checkpoint, prefix + "parameter/", arena.segments(), arena.device(), arena.values());
  LoadVectors(checkpoint, prefix + "state/", arena.state_segments(), arena.device(), arena.state());
}

void Trainer::CheckStatistics() const {
  const View state = arena_.state();
  const int64_t index = state.size > 0 ? device_.FirstNonFinite(state) : -1;
  if (index < 0) return;
  for (const Segment& segment : arena_.state_segments()) {
    if (index < segment.offset || index >= segment.offset + segment.size) continue;
    throw Error(
        fmt::format("step {}: the running statistics {} are NaN or infinite at element {}", step_,
                    segment.spec.name, index - segment.offset),
        "the checkpoints are intact; try a smaller --lr, --warmup-epochs 1 or --clip-grad 1");
  }
}

void Trainer::Save(bool best) {
  CheckStatistics();
  const UncountedTraffic uncounted(communicator_);
  CheckReplicas(communicator_, arena_);
  Checkpoint common, own;
  StoreOptimizer(*optimizer_, arena_, communicator_, common, own);
  StorePosition(common, own);
  StoreWeights(common, own);
  SaveRun(checkpoints_, communicator_, step_, std::move(common), std::move(own), best);
  saved_step_ = step_;
}

void Trainer::StorePosition(Checkpoint& common, Checkpoint& own) {
  const auto store_training = [](const Evaluation& training, Checkpoint& checkpoint) {
    checkpoint.integers["epoch_rows"] = training.rows;
    checkpoint.integers["epoch_correct_top1"] = training.correct_top1;
    checkpoint.integers["epoch_correct_top5"] = training.correct_top5;
    checkpoint.numbers["epoch_loss_sum"] = training.loss_sum;
  };
  common.integers.merge(
      std::map<std::string, int64_t>{{"step", step_},
                                     {"epoch", epoch_},
                                     {"batch_index", batch_index_},
                                     {"classes", graph_.classes()},
                                     {"height", graph_.image_shape().height},
                                     {"width", graph_.image_shape().width},
                                     {"channels", graph_.image_shape().channels}});
  common.numbers["best_top1"] = best_top1_;
  common.strings["settings"] = WriteRecipe(LastingSettings(settings_));
  store_training(SumOverRanks(communicator_, device_, epoch_training_), common);
  store_training(epoch_training_, own);
}

void Trainer::StoreWeights(Checkpoint& common, Checkpoint& own) {
  const std::vector<Segment>& statistics = arena_.state_segments();
  const auto store = [&](const std::string& prefix, View values, View state) {
    StoreVectors(prefix + "state/", statistics, device_, state, own);
    WithAverageStatistics(state, [&] {
      if (!rank_.first()) return;
      StoreVectors(prefix + "parameter/", arena_.segments(), device_, values, common);
      StoreVectors(prefix + "state/", statistics, device_, state, common);
    });
  };
  store("", arena_.values(), arena_.state());
  if (settings_.model_ema > 0) store("average/", average_values_.view(), average_state_.view());
}

void Trainer::Restore(const SavedRun& saved) {
  RestorePosition(saved);
  RestoreWeights(saved.common(), false, arena_);
  if (settings_.model_ema > 0) {
    LoadVectors(saved.common(), "average/parameter/", arena_.segments(), device_,
                average_values_.view());
    LoadVectors(saved.common(), "average/state/", arena_.state_segments(), device_,
                average_state_.view());
  }
  const std::string change = RestoreOptimizer(saved, arena_, communicator_, *optimizer_);
  if (saved.ranks() == communicator_.size()) {
    const auto own = saved.LoadRank(communicator_.rank());
    epoch_training_ = {FindNumber(*own, "epoch_loss_sum"), FindInteger(*own, "epoch_rows"),
                       FindInteger(*own, "epoch_correct_top1"),
                       FindInteger(*own, "epoch_correct_top5")};
    LoadVectors(*own, "state/", arena_.state_segments(), device_, arena_.state());
    if (settings_.model_ema > 0) {
      LoadVectors(*own, "average/state/", arena_.state_segments(), device_, average_state_.view());
    }
  }
  if (!change.empty()) progress_.Print(change);
}

void Trainer::RestorePosition(const SavedRun& saved) {
  const Checkpoint& common = saved.common();
  step_ = saved_step_ = FindInteger(common, "step");
  epoch_ = FindInteger(common, "epoch");
  batch_index_ = FindInteger(common, "batch_index");
  best_top1_ = FindNumber(common, "best_top1");
  if (saved.ranks() != communicator_.size()) {
    // The epoch goes on where it was; a batch of all ranks that was begun is begun again.
    batch_index_ = batch_index_ * saved.ranks() / communicator_.size();
    if (batch_index_ >= batches_per_epoch_) {
      batch_index_ = 0;
      ++epoch_;
    }
    if (rank_.first()) {
      epoch_training_ = {FindNumber(common, "epoch_loss_sum"), FindInteger(common, "epoch_rows"),
                         FindInteger(common, "epoch_correct_top1"),
                         FindInteger(common, "epoch_correct_top5")};
    }
  }
  if (batch_index_ >= batches_per_epoch_) {
    throw Error(fmt::format("the run to resume was at batch {} of an epoch that has {} now",
                            batch_index_, batches_per_epoch_),
                "resume with the data that the run had");
  }
}

}  // namespace thinwire
