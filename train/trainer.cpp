#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "kernels/error.h"
#include "layers/initialization.h"
#include "models/models.h"
#include "train/arena_vectors.h"
#include "train/stop_signal.h"
#include "train/weights.h"

namespace thinwire {
namespace {

constexpr int64_t kDefaultEpochs = 10;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

NetworkOptions TrainingNetwork(const Settings& settings) {
  return {.batch_size = settings.batch_size,
          .training = true,
          .label_smoothing = static_cast<float>(settings.label_smoothing),
          .seed = static_cast<uint64_t>(settings.seed)};
}

int64_t TestBatchSize(const Settings& settings) {
  return settings.eval_batch_size.value_or(settings.batch_size);
}

PipelineOptions TrainingPipeline(const Settings& settings) {
  return {.batch_size = settings.batch_size,
          .augmentation = MakeAugmentationOptions(settings),
          .normalization = MakeNormalization(settings),
          .seed = static_cast<uint64_t>(settings.seed),
          .threads = static_cast<int>(settings.data_threads)};
}

/// Tells what a resumed run changes. @throws Error for a setting that would make it another run.
void CompareSettings(const Settings& settings, const Checkpoint& checkpoint,
                     ProgressLine& progress) {
  static const std::set<std::string> fixed = {
      "dataset",     "train-files", "shapes-count", "batch-size", "grad-accum-steps", "model",
      "num-classes", "shortcut",    "opt",          "model-ema",  "amsgrad-form",     "seed"};
  const auto stored = checkpoint.strings.find("settings");
  if (stored == checkpoint.strings.end()) {
    throw Error("the checkpoint to resume from holds no settings", "resume from another one");
  }
  const Settings before = ParseRecipe(stored->second, "the checkpoint's settings");
  const Settings now = LastingSettings(settings);
  for (const SettingEntry& entry : SettingEntries()) {
    const std::string old_value = ValueAsText(entry, before);
    const std::string new_value = ValueAsText(entry, now);
    if (old_value == new_value) continue;
    if (fixed.count(entry.name) != 0) {
      throw Error(fmt::format("--{} {} does not fit the run to resume, which has {}", entry.name,
                              new_value, old_value),
                  "resume with the run's own settings, or start a new run in another --output",
                  Error::Kind::kUsage);
    }
    progress.Print(
        fmt::format("Resuming with {} {} instead of {}", entry.name, new_value, old_value));
  }
}

}  // namespace

Settings LastingSettings(const Settings& settings) {
  Settings lasting = settings;
  const Settings defaults;
  lasting.data_dir = defaults.data_dir;
  lasting.data_threads = defaults.data_threads;
  lasting.weights = defaults.weights;
  lasting.max_steps = defaults.max_steps;
  lasting.output = defaults.output;
  lasting.experiment = defaults.experiment;
  lasting.resume = defaults.resume;
  lasting.checkpoint_interval = defaults.checkpoint_interval;
  lasting.checkpoint_hist = defaults.checkpoint_hist;
  lasting.log_interval = defaults.log_interval;
  lasting.json = defaults.json;
  lasting.device = defaults.device;
  lasting.threads = defaults.threads;
  return lasting;
}

LayerGraph BuildModelFor(const Settings& settings, const Dataset& dataset) {
  ModelOptions options;
  options.classes = settings.num_classes.value_or(dataset.classes);
  if (options.classes < dataset.classes) {
    throw Error(fmt::format("--num-classes {} is too few for {}, which has {} classes",
                            options.classes, dataset.name, dataset.classes),
                "leave --num-classes out", Error::Kind::kUsage);
  }
  options.height = dataset.height;
  options.width = dataset.width;
  options.channels = dataset.channels;
  options.shortcut = settings.shortcut.at(0);
  options.dropout = settings.dropout.value_or(-1);
  return BuildModel(settings.model, options);
}

void RestoreWeights(const Checkpoint& checkpoint, bool average, ParameterArena& arena) {
  const std::string prefix = average && HoldsVectors(checkpoint, "average/") ? "average/" : "";
  LoadVectors(checkpoint, prefix + "parameter/", arena.segments(), arena.device(), arena.values());
  LoadVectors(checkpoint, prefix + "state/", arena.state_segments(), arena.device(), arena.state());
}

Trainer::Trainer(const Settings& settings, const RunFolder& folder,
                 const std::optional<Checkpoint>& checkpoint)
    : settings_(settings),
      schedule_(MakeScheduleOptions(settings)),
      checkpoints_(folder.checkpoints(), settings.checkpoint_hist),
      device_(MakeDevice(settings.device, static_cast<int>(settings.threads.value_or(0)))),
      communicator_(MakeSingleCommunicator(*device_)),
      train_set_(LoadDataset(MakeDatasetOptions(settings, Split::kTrain), Split::kTrain)),
      test_set_(LoadDataset(MakeDatasetOptions(settings, Split::kTest), Split::kTest)),
      graph_(BuildModelFor(settings, train_set_)),
      arena_(*device_, graph_.tensor_specs()),
      optimizer_(MakeOptimizer(MakeOptimizerOptions(settings), arena_, *communicator_)),
      network_(graph_, arena_, TrainingNetwork(settings)),
      test_network_(graph_, arena_, {.batch_size = TestBatchSize(settings), .training = false}),
      norm_(device_->Allocate(SizeOf(DataType::kFloat64))),
      clip_scale_(device_->Allocate(SizeOf(DataType::kFloat32))) {
  batches_per_epoch_ = train_set_.count / settings_.batch_size;
  if (batches_per_epoch_ == 0) {
    throw Error(fmt::format("--batch-size {} is more than the {} training images of {}",
                            settings_.batch_size, train_set_.count, train_set_.name),
                "choose a smaller batch", Error::Kind::kUsage);
  }
  steps_per_epoch_ =
      (batches_per_epoch_ + settings_.grad_accum_steps - 1) / settings_.grad_accum_steps;

  const auto allocate_like = [&](View view) {
    return device_->Allocate(view.size * SizeOf(view.type));
  };
  if (settings_.grad_accum_steps > 1) accumulated_ = allocate_like(arena_.gradients());
  if (settings_.model_ema > 0) {
    average_values_ = allocate_like(arena_.values());
    average_state_ = allocate_like(arena_.state());
  }
  if (checkpoint) {
    CompareSettings(settings_, *checkpoint, progress_);
    Restore(*checkpoint);
  } else {
    InitializeParameters(graph_, arena_, static_cast<uint64_t>(settings_.seed),
                         {.zero_residual_scale = settings_.zero_init_residual});
    if (!settings_.weights.empty()) LoadWeights(settings_.weights, arena_);
    if (settings_.model_ema > 0) {
      device_->Copy(arena_.values(), average_values_.view());
      device_->Copy(arena_.state(), average_state_.view());
    }
  }
  pipeline_ = std::make_unique<BatchPipeline>(train_set_, TrainingPipeline(settings_), epoch_,
                                              batch_index_);
  logs_ =
      std::make_unique<RunLogs>(folder, checkpoint ? std::optional(step_) : std::nullopt, epoch_);
  progress_.Print(fmt::format(
      "{}, {} parameters, {:.0f} MiB of activations\n{}, {} training and {} test images\n{}",
      graph_.name(), arena_.parameter_count(),
      static_cast<double>(network_.activation_bytes()) / (1 << 20), train_set_.name,
      train_set_.count, test_set_.count, device_->description()));
  if (checkpoint) progress_.Print(fmt::format("Resuming after step {}", step_));
}

int64_t Trainer::epochs() const {
  if (settings_.epochs) return *settings_.epochs;
  return std::max(kDefaultEpochs, (settings_.max_steps + steps_per_epoch_ - 1) / steps_per_epoch_);
}

int64_t Trainer::last_step() const {
  const int64_t all = epochs() * steps_per_epoch_;
  return settings_.max_steps > 0 ? std::min(all, settings_.max_steps) : all;
}

int Trainer::Run() {
  StopSignal stop;
  epoch_started_ = logged_at_ = Now();
  while (step_ < last_step()) {
    const StepResult result = Step();
    ShowStep(result);
    if (batch_index_ == 0) {
      FinishEpoch(result.learning_rate);
    } else if (settings_.checkpoint_interval > 0 && step_ % settings_.checkpoint_interval == 0) {
      Save(false);
    }
    if (stop.received() != 0) {
      if (saved_step_ != step_) Save(false);
      progress_.Print(fmt::format("Stopped by signal {} after step {}; --resume auto goes on",
                                  stop.received(), step_));
      return 128 + stop.received();
    }
  }
  if (saved_step_ != step_) Save(false);
  return 0;
}

Trainer::StepResult Trainer::Step() {
  StepResult result;
  const int64_t parts = std::min(settings_.grad_accum_steps, batches_per_epoch_ - batch_index_);
  const float scale = 1.0f / static_cast<float>(settings_.batch_size * parts);
  for (int64_t part = 0; part < parts; ++part) {
    result.training.Add(TrainOnBatch(pipeline_->Next(), scale, part));
    if (parts == 1) break;
    if (part == 0) {
      device_->Copy(arena_.gradients(), accumulated_.view());
    } else {
      device_->Add(accumulated_.view(), arena_.gradients(), false, accumulated_.view());
    }
    if (part == parts - 1) device_->Copy(accumulated_.view(), arena_.gradients());
  }

  const bool clip = settings_.clip_grad > 0;
  const View squares = norm_.view(DataType::kFloat64);
  if (clip || logs_step(step_ + 1)) device_->SumOfSquares(arena_.gradients(), squares);
  if (clip) device_->ClipScale(squares, settings_.clip_grad, clip_scale_.view());
  if (logs_step(step_ + 1)) {
    device_->CopyToHost(squares, &result.gradient_norm);
    result.gradient_norm = std::sqrt(result.gradient_norm);
  }
  result.learning_rate =
      LearningRate(schedule_, step_, steps_per_epoch_, epochs() * steps_per_epoch_);
  optimizer_->Step(result.learning_rate, clip ? ConstView(clip_scale_.view()) : ConstView());
  if (settings_.model_ema > 0) {
    device_->Average(arena_.values(), settings_.model_ema, average_values_.view());
    device_->Average(arena_.state(), settings_.model_ema, average_state_.view());
  }

  ++step_;
  batch_index_ += parts;
  if (batch_index_ == batches_per_epoch_) {
    batch_index_ = 0;
    ++epoch_;
  }
  return result;
}

LossResult Trainer::TrainOnBatch(const Batch& batch, float gradient_scale, int64_t part) {
  UploadBatch(*device_, batch, network_);
  const auto pass = static_cast<uint64_t>(step_ * settings_.grad_accum_steps + part);
  network_.ForwardBackward(gradient_scale, pass);
  const LossResult result = network_.ReadLoss();
  if (!std::isfinite(result.loss_sum)) {
    progress_.Finish();
    const std::optional<std::string> layer = network_.FirstNonFiniteLayer(pass);
    throw Error(
        fmt::format("training step {}: the loss is {}{}", step_ + 1, result.loss_sum,
                    layer ? fmt::format(", and the first activation that is not finite is that of "
                                        "layer {}",
                                        *layer)
                          : ""),
        "the checkpoints are intact; try a smaller --lr, --warmup-epochs 1 or --clip-grad 1");
  }
  epoch_training_.Add(result);
  images_this_epoch_ += batch.rows;
  images_since_log_ += batch.rows;
  return result;
}

void Trainer::ShowStep(const StepResult& result) {
  const double now = Now();
  const int64_t epoch = batch_index_ == 0 ? epoch_ : epoch_ + 1;  // of this step, counted from 1
  ProgressStatus status{
      .epoch = epoch,
      .epochs = epochs(),
      .step = step_,
      .total_steps = last_step(),
      .loss = result.training.loss(),
      .top1 = epoch_training_.top1(),
      .learning_rate = result.learning_rate,
      .images_per_second = static_cast<double>(images_this_epoch_) / (now - epoch_started_)};
  if (!logs_step(step_)) {
    progress_.Update(status);
    return;
  }
  status.images_per_second = static_cast<double>(images_since_log_) / (now - logged_at_);
  progress_.Log(status);
  logs_->Write(StepRecord{.step = step_,
                          .epoch = epoch,
                          .loss = result.training.loss(),
                          .gradient_norm = result.gradient_norm,
                          .learning_rate = result.learning_rate,
                          .images_per_second = *status.images_per_second});
  logged_at_ = Now();
  images_since_log_ = 0;
}

void Trainer::FinishEpoch(double learning_rate) {
  const double seconds = Now() - epoch_started_;
  EpochRecord record{.epoch = epoch_,
                     .step = step_,
                     .learning_rate = learning_rate,
                     .training = epoch_training_,
                     .test = {},
                     .average_test = {},
                     .seconds = seconds,
                     .images_per_second = static_cast<double>(images_this_epoch_) / seconds};
  const bool last = step_ >= last_step();
  bool best = false;
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
  logs_->Write(record);
  epoch_training_ = {};
  if (best || last || settings_.checkpoint_interval == 0 ||
      step_ % settings_.checkpoint_interval == 0) {
    Save(best);
  }
  images_this_epoch_ = images_since_log_ = 0;
  epoch_started_ = logged_at_ = Now();
}

Evaluation Trainer::EvaluateTestSet() {
  PipelineOptions options = TrainingPipeline(settings_);
  options.batch_size = TestBatchSize(settings_);
  return Evaluate(*device_, test_network_, test_set_, options);
}

Evaluation Trainer::EvaluateAverage() {
  // The evaluation network reads the arena, so the averages take its place for a while.
  const auto swap_with_arena = [this](View view, Buffer& average) {
    std::vector<float> values(static_cast<size_t>(view.size));
    device_->CopyToHost(view, values.data());
    device_->Copy(average.view(), view);
    device_->CopyFromHost(values.data(), average.view());
  };
  swap_with_arena(arena_.values(), average_values_);
  swap_with_arena(arena_.state(), average_state_);
  const Evaluation evaluation = EvaluateTestSet();
  swap_with_arena(arena_.values(), average_values_);
  swap_with_arena(arena_.state(), average_state_);
  return evaluation;
}

void Trainer::Save(bool best) {
  checkpoints_.Save(MakeCheckpoint(), best);
  saved_step_ = step_;
}

Checkpoint Trainer::MakeCheckpoint() {
  Checkpoint checkpoint;
  checkpoint.integers = {{"step", step_},
                         {"epoch", epoch_},
                         {"batch_index", batch_index_},
                         {"optimizer_step", optimizer_->step()},
                         {"classes", graph_.classes()},
                         {"height", graph_.image_shape().height},
                         {"width", graph_.image_shape().width},
                         {"channels", graph_.image_shape().channels},
                         {"epoch_rows", epoch_training_.rows},
                         {"epoch_correct_top1", epoch_training_.correct_top1},
                         {"epoch_correct_top5", epoch_training_.correct_top5}};
  checkpoint.numbers = {{"best_top1", best_top1_}, {"epoch_loss_sum", epoch_training_.loss_sum}};
  checkpoint.strings = {{"settings", WriteRecipe(LastingSettings(settings_))}};

  const std::vector<Segment>& segments = arena_.segments();
  StoreVectors("parameter/", segments, *device_, arena_.values(), checkpoint);
  StoreVectors("state/", arena_.state_segments(), *device_, arena_.state(), checkpoint);
  for (const OptimizerState& state : optimizer_->state()) {
    StoreVectors("optimizer/" + state.name + "/", segments, *device_, state.values, checkpoint);
  }
  if (settings_.model_ema > 0) {
    StoreVectors("average/parameter/", segments, *device_, average_values_.view(), checkpoint);
    StoreVectors("average/state/", arena_.state_segments(), *device_, average_state_.view(),
                 checkpoint);
  }
  return checkpoint;
}

void Trainer::Restore(const Checkpoint& checkpoint) {
  const auto integer = [&](const std::string& name) {
    const auto found = checkpoint.integers.find(name);
    if (found == checkpoint.integers.end() || found->second < 0) {
      throw Error("the checkpoint to resume from lacks " + name, "resume from another one");
    }
    return found->second;
  };
  const auto number = [&](const std::string& name) {
    const auto found = checkpoint.numbers.find(name);
    if (found == checkpoint.numbers.end()) {
      throw Error("the checkpoint to resume from lacks " + name, "resume from another one");
    }
    return found->second;
  };
  step_ = saved_step_ = integer("step");
  epoch_ = integer("epoch");
  batch_index_ = integer("batch_index");
  if (batch_index_ >= batches_per_epoch_) {
    throw Error(fmt::format("the run to resume was at batch {} of an epoch that has {} now",
                            batch_index_, batches_per_epoch_),
                "resume with the data that the run had");
  }
  epoch_training_ = {number("epoch_loss_sum"), integer("epoch_rows"), integer("epoch_correct_top1"),
                     integer("epoch_correct_top5")};
  best_top1_ = number("best_top1");

  const std::vector<Segment>& segments = arena_.segments();
  RestoreWeights(checkpoint, false, arena_);
  optimizer_->set_step(integer("optimizer_step"));
  for (const OptimizerState& state : optimizer_->state()) {
    LoadVectors(checkpoint, "optimizer/" + state.name + "/", segments, *device_, state.values);
  }
  if (settings_.model_ema > 0) {
    LoadVectors(checkpoint, "average/parameter/", segments, *device_, average_values_.view());
    LoadVectors(checkpoint, "average/state/", arena_.state_segments(), *device_,
                average_state_.view());
  }
}

}  // namespace thinwire
