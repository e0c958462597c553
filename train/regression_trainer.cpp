#include "train/regression_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <utility>

#include "comm/failure.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "kernels/trace_range.h"
#include "train/agreement.h"
#include "train/arena_vectors.h"
#include "kernels/crc32c.h"
#include "train/measurement.h"
#include "train/optimizer_state.h"
#include "train/resume.h"
#include "train/stop_signal.h"

namespace thinwire {
namespace {

constexpr int64_t kDefaultEpochs = 10;
constexpr uint64_t kOrderKey = 0x726f77733a6f7264;  // keeps apart from other uses of a seed

/// A rank's contiguous block of the rows. `starts` receives where they begin in it.
SparseRows RowsOf(const SparseDataset& data, const Communicator& communicator,
                  std::vector<int64_t>& starts) {
  const auto [begin, end] = RowsOfRank(data.rows, communicator.rank(), communicator.size());
  starts.assign(data.starts.begin() + begin, data.starts.begin() + end + 1);
  const auto first = static_cast<size_t>(starts.front());
  const auto stored = static_cast<size_t>(starts.back()) - first;
  for (int64_t& start : starts) start -= static_cast<int64_t>(first);
  return {.rows = end - begin,
          .features = data.features,
          .starts = starts,
          .columns = std::span(data.columns).subspan(first, stored),
          .values = std::span(data.values).subspan(first, stored),
          .labels = std::span(data.labels)
                        .subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))};
}

/// Every worker has to have a row, and the last has the fewest.
const SparseDataset& Checked(const SparseDataset& data, const Communicator& communicator) {
  if (data.rows < communicator.size()) {
    throw Error(
        fmt::format("{} has {} rows for {} workers", data.name, data.rows, communicator.size()),
        "use fewer workers", Error::Kind::kUsage);
  }
  if (data.classes < 2) {
    throw Error(fmt::format("all rows of {} have the same label", data.name),
                "give a data set of two or more classes");
  }
  return data;
}

DataType TypeOf(const Settings& settings) {
  return settings.dtype == "f64" ? DataType::kFloat64 : DataType::kFloat32;
}

}  // namespace

RegressionData LoadRegressionData(const Settings& settings) {
  if (settings.dataset != "libsvm") {
    return {
        MakeSparseDataset(LoadDataset(MakeDatasetOptions(settings, Split::kTrain), Split::kTrain)),
        MakeSparseDataset(LoadDataset(MakeDatasetOptions(settings, Split::kTest), Split::kTest))};
  }
  RegressionData data;
  data.train = LoadLibsvm(settings.data_dir, settings.train_files);
  if (settings.test_files.empty()) return data;
  data.test =
      LoadLibsvm(settings.data_dir, settings.test_files,
                 {.min_features = data.train.features, .label_values = data.train.label_values});
  if (data.test.features > data.train.features) {
    throw Error(fmt::format("{} has {} features, and {} has {}", data.test.name, data.test.features,
                            data.train.name, data.train.features),
                "give a test set of the same features");
  }
  return data;
}

RegressionTrainer::RegressionTrainer(const Settings& settings, const RunFolder& folder,
                                     const std::optional<SavedRun>& saved, Rank& rank,
                                     const RegressionData& data)
    : settings_(settings),
      schedule_(MakeScheduleOptions(settings)),
      checkpoints_(folder.checkpoints(), settings.checkpoint_hist),
      rank_(rank),
      device_(rank.device),
      communicator_(rank.communicator),
      data_(data),
      rows_(RowsOf(Checked(data.train, rank.communicator), rank.communicator, starts_)),
      arena_(device_, LogisticRegression::TensorSpecs(data.train.features, data.train.classes),
             TypeOf(settings)),
      optimizer_(MakeOptimizer(MakeOptimizerOptions(settings), arena_, communicator_)),
      model_(arena_, rows_, data.train.classes, settings.lambda),
      norm_(device_.Allocate(SizeOf(DataType::kFloat64))),
      clip_scale_(device_.Allocate(SizeOf(arena_.type()))),
      known_gradient_(device_.Allocate(arena_.padded_size() * SizeOf(arena_.type()))),
      profiler_(settings.profile, rank),
      progress_({.stream = rank.first() ? stdout : nullptr}) {
  if (data.test.rows > 0) {
    test_model_.emplace(arena_, data.test.view(), data.train.classes, settings.lambda);
  }
  if (!full_batch()) {
    // All ranks have equally many batches; the last rank has the fewest rows.
    const int64_t fewest = data.train.rows / communicator_.size();
    steps_per_epoch_ = fewest / *settings_.batch_size;
    if (steps_per_epoch_ == 0) {
      throw Error(fmt::format("--batch-size {} is more than the {} rows of a worker",
                              *settings_.batch_size, fewest),
                  "choose a smaller batch, or full", Error::Kind::kUsage);
    }
  }
  {
    const UncountedTraffic uncounted(communicator_);
    CompareData();
  }
  if (saved) {
    CompareSettings(settings_, saved->common(), progress_);
    Restore(*saved);
  }
  communicator_.SetStep(step_);
  CheckReplicas(communicator_, arena_);
  if (rank_.first()) {
    logs_ = std::make_unique<RunLogs>(folder, saved ? std::optional(step_) : std::nullopt, epoch_);
  }
  progress_.Print(fmt::format(
      "logistic regression of {} parameters in {}\n{}, {} training and {} test rows\n{}{}",
      arena_.parameter_count(), settings_.dtype, data.train.name, data.train.rows, data.test.rows,
      device_.description(), rank_.alone() ? "" : ", " + communicator_.description()));
  if (saved) progress_.Print(fmt::format("Resuming after step {}", step_));
}

void RegressionTrainer::CompareData() {
  std::string facts;
  for (const SparseDataset* data : {&data_.train, &data_.test}) {
    const std::string& name = data->name;
    facts +=
        fmt::format("{} rows, {} features, {} classes, values {:08x} of {}\n", data->rows,
                    data->features, data->classes, Crc32c(std::as_bytes(std::span(data->values))),
                    name.substr(name.find_last_of('/') + 1));
  }
  CompareRanks(communicator_, facts, "give all ranks the same data");
}

int64_t RegressionTrainer::epochs() const {
  if (settings_.epochs) return *settings_.epochs;
  return std::max(kDefaultEpochs, (settings_.max_steps + steps_per_epoch_ - 1) / steps_per_epoch_);
}

int64_t RegressionTrainer::last_step() const {
  const int64_t all = step_ + epochs() * steps_per_epoch_ - schedule_step();
  return settings_.max_steps > 0 ? std::min(all, settings_.max_steps) : all;
}

int RegressionTrainer::Run() {
  const StopSignalOfRank stop(rank_);
  epoch_started_ = logged_at_ = MonotonicSeconds();
  logged_step_ = step_;
  while (step_ < last_step()) {
    profiler_.BeforeStep(step_ + 1);
    Step();
    profiler_.AfterStep(step_);
    // Before a checkpoint, which knows what was sent so far.
    const int signal = AgreeOnSignal(communicator_, StopSignal::received());
    if (step_ % settings_.log_interval == 0) LogStep();
    const int64_t check = settings_.replica_check_interval;
    if (check > 0 && step_ % check == 0) CheckReplicas(communicator_, arena_);
    const bool epoch_ends = batch_index_ == 0 && !full_batch();
    const bool last = step_ >= last_step();
    if (epoch_ends || last) FinishEpoch();
    const int64_t interval = settings_.checkpoint_interval;
    if (last || (interval > 0 ? step_ % interval == 0 : epoch_ends)) Save();
    if (signal != 0) {
      if (saved_step_ != step_) Save();
      progress_.Print(
          fmt::format("Stopped by signal {} after step {}; --resume auto goes on", signal, step_));
      return 128 + signal;
    }
  }
  if (saved_step_ != step_) Save();
  return 0;
}

void RegressionTrainer::Step() {
  const TraceRange range(TraceCategory::kStep, "step", step_ + 1);
  communicator_.SetStep(step_ + 1);
  learning_rate_ =
      LearningRate(schedule_, schedule_step(), steps_per_epoch_, epochs() * steps_per_epoch_);
  optimizer_->BeginStep(learning_rate_);
  TakeGradient();
  const bool clip = settings_.clip_grad > 0;
  if (clip) {
    device_.SumOfSquares(arena_.gradients(), norm_.view(DataType::kFloat64));
    device_.ClipScale(norm_.view(DataType::kFloat64), settings_.clip_grad,
                      clip_scale_.view(arena_.type()));
  }
  optimizer_->set_measure(measures_step(step_ + 1));
  optimizer_->Step(learning_rate_, clip ? ConstView(clip_scale_.view(arena_.type())) : ConstView());
  optimizer_->CheckStep();
  ++step_;
  if (++batch_index_ == steps_per_epoch_) {
    batch_index_ = 0;
    ++epoch_;
  }
}

void RegressionTrainer::TakeGradient() {
  const TraceRange range(TraceCategory::kPhase, "gradient");
  double loss = 0;
  if (full_batch() && Point() == known_point_) {
    // What was logged was taken here, too, unless the method steps ahead first.
    device_.Copy(known_gradient_.view(arena_.type()), arena_.gradients());
    return;
  }
  const double start = MonotonicSeconds();
  if (full_batch()) {
    loss = model_.LossAndGradient(0, rows_.rows);
  } else {
    if (order_epoch_ != epoch_) {
      order_.resize(static_cast<size_t>(rows_.rows));
      std::iota(order_.begin(), order_.end(), int64_t{0});
      RandomStream random(
          static_cast<uint64_t>(settings_.seed) ^ kOrderKey,
          static_cast<uint64_t>(epoch_ * communicator_.size() + communicator_.rank()));
      for (size_t i = order_.size() - 1; i > 0; --i) {
        std::swap(order_[i], order_[random.Below(static_cast<uint32_t>(i + 1))]);
      }
      order_epoch_ = epoch_;
    }
    const auto size = static_cast<size_t>(*settings_.batch_size);
    loss = model_.LossAndGradient(
        std::span(order_).subspan(static_cast<size_t>(batch_index_) * size, size));
  }
  gradient_seconds_ = MonotonicSeconds() - start;
  if (!std::isfinite(loss)) {
    progress_.Finish();
    throw Error(fmt::format("training step {}: the loss is {}", step_ + 1, loss),
                "the checkpoints are intact; try a smaller --lr");
  }
}

std::vector<std::byte> RegressionTrainer::Point() const {
  const View values = arena_.values();
  std::vector<std::byte> bytes(static_cast<size_t>(values.size * SizeOf(values.type)));
  device_.CopyToHost(values, bytes.data());
  return bytes;
}

Evaluation RegressionTrainer::Objective(double* gradient_norm) {
  RegressionResult result;
  const double own = gradient_norm != nullptr ? model_.LossAndGradient(0, rows_.rows, &result)
                                              : model_.Loss(0, rows_.rows, &result);
  if (gradient_norm != nullptr && full_batch() && std::isfinite(own)) {
    known_point_ = Point();
    device_.Copy(arena_.gradients(), known_gradient_.view(arena_.type()));
  }
  const double numbers[] = {own, static_cast<double>(result.correct)};
  const std::vector<double> sums = SumOverRanks(communicator_, device_, numbers);
  if (gradient_norm != nullptr) {
    communicator_.AllReduce(arena_.gradients(), 1.0 / communicator_.size(), Purpose::kMeasurement);
    const View squares = norm_.view(DataType::kFloat64);
    device_.SumOfSquares(arena_.gradients(), squares);
    device_.CopyToHost(squares, gradient_norm);
    *gradient_norm = std::sqrt(*gradient_norm);
  }
  // As sums over rows, so that their mean is f.
  const int64_t rows = data_.train.rows;
  return {.loss_sum = sums[0] / communicator_.size() * static_cast<double>(rows),
          .rows = rows,
          .correct_top1 = static_cast<int64_t>(sums[1]),
          .correct_top5 = static_cast<int64_t>(sums[1])};
}

void RegressionTrainer::LogStep() {
  double gradient_norm = 0;
  const double loss = Objective(&gradient_norm).loss();
  const double now = MonotonicSeconds();
  const int64_t epoch = batch_index_ == 0 ? epoch_ : epoch_ + 1;
  const double rows_per_second = static_cast<double>((step_ - logged_step_) * batch_rows()) *
                                 communicator_.size() / (now - logged_at_);
  ProgressStatus status{.epoch = epoch,
                        .epochs = epochs(),
                        .step = step_,
                        .total_steps = last_step(),
                        .loss = loss,
                        .top1 = {},
                        .learning_rate = learning_rate_,
                        .images_per_second = {}};
  if (!rank_.alone()) ShowCosts(optimizer_->costs(), arena_.parameter_count(), step_, status);
  progress_.Log(status);
  if (rank_.first()) {
    logs_->Write(StepRecord{.step = step_,
                            .epoch = epoch,
                            .loss = loss,
                            .gradient_norm = gradient_norm,
                            .learning_rate = learning_rate_,
                            .images_per_second = rows_per_second,
                            .costs = optimizer_->costs(),
                            .traffic = communicator_.traffic(),
                            .measured = measures_step(step_),
                            .forward = 0,
                            .backward = gradient_seconds_});
  }
  logged_at_ = now;
  logged_step_ = step_;
}

Evaluation RegressionTrainer::EvaluateTestSet() {
  const auto [begin, end] = RowsOfRank(data_.test.rows, communicator_.rank(), communicator_.size());
  RegressionResult result;
  test_model_->Loss(begin, end, &result);
  return SumOverRanks(communicator_, device_,
                      Evaluation{.loss_sum = result.loss_sum,
                                 .rows = result.rows,
                                 .correct_top1 = result.correct,
                                 .correct_top5 = result.correct});
}

void RegressionTrainer::FinishEpoch() {
  const double seconds = MonotonicSeconds() - epoch_started_;
  const int64_t steps = full_batch() ? step_ : steps_per_epoch_;
  EpochRecord record{.epoch = epoch_,
                     .step = step_,
                     .learning_rate = learning_rate_,
                     .training = Objective(nullptr),
                     .test = {},
                     .average_test = {},
                     .seconds = seconds,
                     .images_per_second = static_cast<double>(steps * batch_rows()) *
                                          communicator_.size() / seconds};
  if (test_model_) record.test = EvaluateTestSet();
  progress_.Print(fmt::format("epoch {:>3}/{}  loss {:.6f} accuracy {:.2f}%{}", epoch_, epochs(),
                              record.training.loss(), 100 * record.training.top1(),
                              record.test
                                  ? fmt::format("  test loss {:.6f} accuracy {:.2f}%",
                                                record.test->loss(), 100 * record.test->top1())
                                  : ""));
  if (rank_.first()) logs_->Write(record);
  epoch_started_ = MonotonicSeconds();
}

void RegressionTrainer::Save() {
  const UncountedTraffic uncounted(communicator_);
  CheckReplicas(communicator_, arena_);
  Checkpoint common, own;
  StoreOptimizer(*optimizer_, arena_, communicator_, common, own);
  common.integers["step"] = step_;
  common.integers["epoch"] = epoch_;
  common.integers["batch_index"] = batch_index_;
  common.integers["classes"] = data_.train.classes;
  common.integers["features"] = data_.train.features;
  common.strings["settings"] = WriteRecipe(LastingSettings(settings_));
  StoreVectors("parameter/", arena_.segments(), device_, arena_.values(), common);
  SaveRun(checkpoints_, communicator_, step_, std::move(common), std::move(own), false);
  saved_step_ = step_;
}

void RegressionTrainer::Restore(const SavedRun& saved) {
  const Checkpoint& common = saved.common();
  step_ = saved_step_ = FindInteger(common, "step");
  epoch_ = FindInteger(common, "epoch");
  batch_index_ = FindInteger(common, "batch_index");
  if (saved.ranks() != communicator_.size() && !full_batch()) {
    // The epoch goes on where it was; batches that were begun are begun again.
    batch_index_ = batch_index_ * saved.ranks() / communicator_.size();
    if (batch_index_ >= steps_per_epoch_) {
      batch_index_ = 0;
      ++epoch_;
    }
  }
  if (batch_index_ >= steps_per_epoch_) {
    throw Error(fmt::format("the run to resume was at batch {} of an epoch that has {} now",
                            batch_index_, steps_per_epoch_),
                "resume with the data that the run had");
  }
  LoadVectors(common, "parameter/", arena_.segments(), device_, arena_.values());
  const std::string change = RestoreOptimizer(saved, arena_, communicator_, *optimizer_);
  if (!change.empty()) progress_.Print(change);
}

}  // namespace thinwire
