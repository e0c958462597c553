#include "train/trainer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "comm/failure.h"
#include "kernels/crc32c.h"
#include "kernels/error.h"
#include "layers/initialization.h"
#include "models/models.h"
#include "train/agreement.h"
#include "train/measurement.h"
#include "train/resume.h"
#include "train/stop_signal.h"
#include "train/weights.h"

namespace thinwire {
namespace {

constexpr int64_t kDefaultEpochs = 10;
constexpr int64_t kMostPlaces = 8;  // of batches on their way to the device

NetworkOptions TrainingNetwork(const Settings& settings, const Dataset& dataset) {
  const int64_t batches = dataset.count / *settings.batch_size;
  return {.batch_size = *settings.batch_size,
          .training = true,
          .label_smoothing = static_cast<float>(settings.label_smoothing),
          .kept_losses =
              std::clamp<int64_t>(settings.grad_accum_steps, 1, std::max<int64_t>(batches, 1)),
          .seed = static_cast<uint64_t>(settings.seed),
          .activations = ActivationType(settings)};
}

NetworkOptions TestNetwork(const Settings& settings) {
  return {.batch_size = settings.eval_batch_size.value_or(*settings.batch_size),
          .training = false,
          .activations = ActivationType(settings)};
}

}  // namespace

LayerGraph BuildModelFor(const Settings& settings, const Dataset& dataset) {
  ModelOptions options = MakeModelOptions(settings);
  options.classes = settings.num_classes.value_or(dataset.classes);
  if (options.classes < dataset.classes) {
    throw Error(fmt::format("--num-classes {} is too few for {}, which has {} classes",
                            options.classes, dataset.name, dataset.classes),
                "leave --num-classes out", Error::Kind::kUsage);
  }
  options.height = dataset.height;
  options.width = dataset.width;
  options.channels = dataset.channels;
  return BuildModel(settings.model, options);
}

Images LoadImages(const Settings& settings) {
  Images images{LoadDataset(MakeDatasetOptions(settings, Split::kTrain), Split::kTrain),
                LoadDataset(MakeDatasetOptions(settings, Split::kTest), Split::kTest)};
  if (settings.cache == "ram" && images.train.encoded && images.test.encoded) {
    const double limit = settings.cache_limit.value_or(0) * (1 << 30);
    images.memory =
        std::make_shared<ImageMemory>(static_cast<int64_t>(limit), images.train, images.test);
  }
  return images;
}

Trainer::Trainer(const Settings& settings, const RunFolder& folder,
                 const std::optional<SavedRun>& saved, Rank& rank, const Images& images)
    : settings_(settings),
      schedule_(MakeScheduleOptions(settings)),
      checkpoints_(folder.checkpoints(), settings.checkpoint_hist),
      rank_(rank),
      device_(rank.device),
      communicator_(rank.communicator),
      images_(images),
      graph_(BuildModelFor(settings, images.train)),
      arena_(device_, graph_.tensor_specs(), DataType::kFloat32, ActivationType(settings)),
      optimizer_(
          MakeOptimizer(MakeOptimizerOptions(settings, communicator_), arena_, communicator_)),
      network_(graph_, arena_, TrainingNetwork(settings, images.train)),
      test_network_(graph_, arena_, TestNetwork(settings)),
      norm_(device_.Allocate(SizeOf(DataType::kFloat64))),
      clip_scale_(device_.Allocate(SizeOf(DataType::kFloat32))),
      profiler_(settings.profile, rank),
      progress_({.stream = rank.first() ? stdout : nullptr}) {
  const int ranks = communicator_.size();
  batches_per_epoch_ = images_.train.count / (*settings_.batch_size * ranks);
  if (batches_per_epoch_ == 0) {
    const std::string on_ranks = ranks == 1 ? "" : fmt::format(" on each of {} ranks", ranks);
    throw Error(
        fmt::format("--batch-size {}{} is more than the {} training images of {}",
                    *settings_.batch_size, on_ranks, images_.train.count, images_.train.name),
        "choose a smaller batch", Error::Kind::kUsage);
  }
  steps_per_epoch_ =
      (batches_per_epoch_ + settings_.grad_accum_steps - 1) / settings_.grad_accum_steps;
  AllocateBuffers();
  network_.set_layer_callback([this](const std::string&, LayerPhase phase) {
    if (phase == LayerPhase::kBackward && backward_started_ == 0)
      backward_started_ = MonotonicSeconds();
  });
  network_.set_gradient_callback(optimizer_->buckets(), [this](const Range& bucket) {
    if (!starts_early_) return;
    if (accumulates_) AddAccumulated(bucket);
    optimizer_->StartEarly(bucket);
  });

  {
    const UncountedTraffic uncounted(communicator_);
    CompareModels();
  }
  if (saved) {
    CompareSettings(settings_, saved->common(), progress_);
    Restore(*saved);
  } else {
    InitializeParameters(graph_, arena_, static_cast<uint64_t>(settings_.seed),
                         {.zero_residual_scale = settings_.zero_init_residual});
    if (!settings_.weights.empty()) LoadWeights(settings_.weights, arena_);
    if (settings_.model_ema > 0) {
      device_.Copy(arena_.values(), average_values_.view());
      device_.Copy(arena_.state(), average_state_.view());
    }
  }
  arena_.RoundValues();
  communicator_.SetStep(step_);
  CheckReplicas(communicator_, arena_);
  pipeline_ =
      std::make_unique<BatchPipeline>(images_.train, MakePipelineOptions(), epoch_, batch_index_);
  // A batch's place is free once the batch two rounds of places before it has been read, so that
  // with half as many places as a step has batches the host does not wait for the device in it.
  const int64_t places = std::min((settings_.grad_accum_steps + 1) / 2, kMostPlaces);
  upload_ = std::make_unique<BatchUpload>(
      device_, *pipeline_, MixOptions{.mixup = settings_.mixup, .cutmix = settings_.cutmix},
      places);
  if (rank_.first()) {
    logs_ = std::make_unique<RunLogs>(folder, saved ? std::optional(step_) : std::nullopt, epoch_);
  }
  progress_.Print(fmt::format(
      "{}, {} parameters, {:.0f} MiB of activations{}\n{}, {} training and {} test images\n{}{}",
      graph_.name(), arena_.parameter_count(),
      static_cast<double>(network_.activation_bytes()) / (1 << 20), settings_.amp ? " in bf16" : "",
      images_.train.name, images_.train.count, images_.test.count, device_.description(),
      rank_.alone() ? "" : ", " + communicator_.description()));
  for (const Dataset* dataset : {&images_.train, &images_.test}) {
    if (dataset->left_out.empty()) continue;
    progress_.Print(fmt::format(
        "{} files, folders or classes of the {} images are left out; {}", dataset->left_out.size(),
        dataset == &images_.train ? "training" : "test", dataset->left_out.front()));
  }
  if (saved) progress_.Print(fmt::format("Resuming after step {}", step_));
}

void Trainer::AllocateBuffers() {
  const MemoryScope scope(device_, MemoryUse::kParameters);
  const auto allocate_like = [&](View view) {
    return device_.Allocate(view.size * SizeOf(view.type));
  };
  if (settings_.grad_accum_steps > 1) accumulated_ = allocate_like(arena_.gradients());
  if (settings_.model_ema > 0) {
    average_values_ = allocate_like(arena_.values());
    average_state_ = allocate_like(arena_.state());
  }
  if (!rank_.alone()) own_state_ = allocate_like(arena_.state());
}

void Trainer::CompareModels() {
  std::string facts;
  for (const Dataset* dataset : {&images_.train, &images_.test}) {
    facts += fmt::format("{} {} images of {}, labels {:08x}\n", dataset->count,
                         dataset == &images_.train ? "training" : "test", dataset->name,
                         Crc32c(std::as_bytes(std::span(dataset->labels))));
  }
  CompareRanks(communicator_, facts, "give all ranks the same data");
  facts.clear();
  for (const TensorSpec& spec : graph_.tensor_specs()) {
    facts += fmt::format("tensor {} of {}\n", spec.name, fmt::join(spec.shape, " x "));
  }
  CompareRanks(communicator_, facts, "start all ranks with the same model");
}

PipelineOptions Trainer::MakePipelineOptions() const {
  return {.batch_size = *settings_.batch_size,
          .augmentation = MakeAugmentationOptions(settings_),
          .normalization = MakeNormalization(settings_),
          .deliver_bytes = DeliversBytes(device_),
          .seed = static_cast<uint64_t>(settings_.seed),
          .rank = communicator_.rank(),
          .ranks = communicator_.size(),
          .threads = static_cast<int>(settings_.data_threads)};
}

int64_t Trainer::epochs() const {
  if (settings_.epochs) return *settings_.epochs;
  return std::max(kDefaultEpochs, (settings_.max_steps + steps_per_epoch_ - 1) / steps_per_epoch_);
}

int64_t Trainer::schedule_step() const {
  const int64_t parts = settings_.grad_accum_steps;
  return epoch_ * steps_per_epoch_ + (batch_index_ + parts - 1) / parts;
}

int64_t Trainer::last_step() const {
  const int64_t all = step_ + epochs() * steps_per_epoch_ - schedule_step();
  return settings_.max_steps > 0 ? std::min(all, settings_.max_steps) : all;
}

int Trainer::Run() {
  const StopSignalOfRank stop(rank_);
  epoch_started_ = logged_at_ = MonotonicSeconds();
  while (step_ < last_step()) {
    profiler_.BeforeStep(step_ + 1);
    const StepResult result = Step();
    profiler_.AfterStep(step_);
    // Before a checkpoint, which knows what was sent so far.
    const int signal = AgreeOnSignal(communicator_, StopSignal::received());
    ShowStep(result);
    const int64_t check = settings_.replica_check_interval;
    if (check > 0 && step_ % check == 0) CheckReplicas(communicator_, arena_);
    if (batch_index_ == 0) {
      FinishEpoch(result.learning_rate);
    } else if (settings_.checkpoint_interval > 0 && step_ % settings_.checkpoint_interval == 0) {
      Save(false);
    }
    if (signal != 0) {
      if (saved_step_ != step_) Save(false);
      progress_.Print(
          fmt::format("Stopped by signal {} after step {}; --resume auto goes on", signal, step_));
      return 128 + signal;
    }
  }
  if (saved_step_ != step_) Save(false);
  return 0;
}

void Trainer::ShowStep(const StepResult& result) {
  const int64_t epoch = batch_index_ == 0 ? epoch_ : epoch_ + 1;  // of this step, counted from 1
  const auto ranks = static_cast<double>(communicator_.size());
  const double now = MonotonicSeconds();
  ++steps_this_epoch_;
  ++steps_since_log_;
  const auto show_data = [](double data, double seconds, int64_t steps, ProgressStatus& status) {
    status.data = data / static_cast<double>(steps);
    status.compute = (seconds - data) / static_cast<double>(steps);
  };
  ProgressStatus status{.epoch = epoch,
                        .epochs = epochs(),
                        .step = step_,
                        .total_steps = last_step(),
                        .loss = result.training.loss(),
                        .top1 = epoch_training_.top1(),
                        .learning_rate = result.learning_rate,
                        .images_per_second = static_cast<double>(images_this_epoch_) * ranks /
                                             (now - epoch_started_)};
  show_data(data_this_epoch_, now - epoch_started_, steps_this_epoch_, status);
  if (!rank_.alone()) ShowCosts(optimizer_->costs(), arena_.parameter_count(), step_, status);
  if (!logs_step(step_)) {
    progress_.Update(status);
    return;
  }
  const double own[] = {result.training.loss_sum, static_cast<double>(result.training.rows),
                        result.gradient_squares, data_since_log_};
  const std::vector<double> sums = SumOverRanks(communicator_, device_, own);
  status.loss = sums[0] / sums[1];
  status.images_per_second = static_cast<double>(images_since_log_) * ranks / (now - logged_at_);
  show_data(sums[3] / ranks, now - logged_at_, steps_since_log_, status);
  progress_.Log(status);
  if (rank_.first()) {
    logs_->Write(StepRecord{.step = step_,
                            .epoch = epoch,
                            .loss = *status.loss,
                            .gradient_norm = std::sqrt(sums[2] / ranks),
                            .learning_rate = result.learning_rate,
                            .images_per_second = *status.images_per_second,
                            .costs = optimizer_->costs(),
                            .traffic = communicator_.traffic(),
                            .measured = measures_step(step_),
                            .forward = result.forward,
                            .backward = result.backward,
                            .data = *status.data});
  }
  logged_at_ = MonotonicSeconds();
  images_since_log_ = steps_since_log_ = 0;
  data_since_log_ = 0;
}

void Trainer::FinishEpoch(double learning_rate) {
  const double seconds = MonotonicSeconds() - epoch_started_;
  EpochRecord record{.epoch = epoch_,
                     .step = step_,
                     .learning_rate = learning_rate,
                     .training = SumOverRanks(communicator_, device_, epoch_training_),
                     .test = {},
                     .average_test = {},
                     .seconds = seconds,
                     .images_per_second =
                         static_cast<double>(images_this_epoch_) * communicator_.size() / seconds};
  const bool last = step_ >= last_step();
  bool best = false;
  CheckStatistics();
  if (last || (settings_.eval_interval > 0 && epoch_ % settings_.eval_interval == 0)) {
    record.test = EvaluateTestSet();
    if (settings_.model_ema > 0) record.average_test = EvaluateAverage();
    const Evaluation& judged = record.average_test ? *record.average_test : *record.test;
    best = judged.top1() > best_top1_;
    best_top1_ = std::max(best_top1_, judged.top1());
    progress_.Print(fmt::format(
        "epoch {:>3}/{}  train loss {:.4f} top-1 {:.2f}%  test loss {:.4f} top-1 {:.2f}% top-5 "
        "{:.2f}%{}  {:.0f} images/s",
        epoch_, epochs(), record.training.loss(), 100 * record.training.top1(), record.test->loss(),
        100 * record.test->top1(), 100 * record.test->top5(),
        record.average_test
            ? fmt::format("  averaged weights top-1 {:.2f}%", 100 * record.average_test->top1())
            : "",
        record.images_per_second));
  }
  if (images_.train.image_options.skip_unreadable) {
    const double own[] = {static_cast<double>(unreadable_this_epoch_)};
    const double count = SumOverRanks(communicator_, device_, own)[0];
    if (count > 0) {
      progress_.Print(
          fmt::format("epoch {:>3}/{}  {:.0f} training images could not be read and "
                      "were left out",
                      epoch_, epochs(), count));
    }
    unreadable_this_epoch_ = 0;
    if (record.test && record.test->unreadable > 0) {
      progress_.Print(
          fmt::format("epoch {:>3}/{}  {} test images could not be read and were left "
                      "out",
                      epoch_, epochs(), record.test->unreadable));
    }
  }
  if (images_.memory && images_.memory->Describe() != images_in_memory_) {
    images_in_memory_ = images_.memory->Describe();
    progress_.Print(fmt::format("epoch {:>3}/{}  {}", epoch_, epochs(), images_in_memory_));
  }
  if (rank_.first()) logs_->Write(record);
  epoch_training_ = {};
  if (best || last || settings_.checkpoint_interval == 0 ||
      step_ % settings_.checkpoint_interval == 0) {
    Save(best);
  }
  images_this_epoch_ = images_since_log_ = steps_this_epoch_ = steps_since_log_ = 0;
  data_this_epoch_ = data_since_log_ = 0;
  epoch_started_ = logged_at_ = MonotonicSeconds();
}

}  // namespace thinwire
