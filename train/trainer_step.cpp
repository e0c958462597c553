// A training step: its batches, their losses, and the update.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/failure.h"
#include "kernels/error.h"
#include "kernels/trace_range.h"
#include "train/agreement.h"
#include "train/trainer.h"

namespace thinwire {

Trainer::StepResult Trainer::Step() {
  const TraceRange range(TraceCategory::kStep, "step", step_ + 1);
  communicator_.SetStep(step_ + 1);
  StepResult result;
  const bool measures = measures_step(step_ + 1), logs = logs_step(step_ + 1);
  // What is measured is the time of the work, not that of putting it off.
  Recording recording(device_, settings_.cuda_graph && !measures);
  result.learning_rate =
      LearningRate(schedule_, schedule_step(), steps_per_epoch_, epochs() * steps_per_epoch_);
  int64_t rows = UploadNextBatch();  // first, so that what follows is one piece of work
  optimizer_->set_measure(measures);
  optimizer_->BeginStep(result.learning_rate);
  const int64_t parts = std::min(settings_.grad_accum_steps, batches_per_epoch_ - batch_index_);
  const float scale = 1.0f / static_cast<float>(*settings_.batch_size * parts);
  // A device that works behind the host is not waited for within the step.
  const bool reads_at_end = !device_.host_visible() && !measures;
  const bool clip = settings_.clip_grad > 0;
  const bool may_start_early = optimizer_->can_start_early();
  std::vector<TrainedBatch> unread;
  for (int64_t part = 0; part < parts; ++part) {
    if (part > 0) rows = UploadNextBatch();
    const bool last = part == parts - 1;
    accumulates_ = part > 0;
    starts_early_ = last && may_start_early;
    unread.push_back(TrainOnBatch(rows, scale, part, result));
    if (!reads_at_end) ReadLosses(unread, result);
    if (last) break;
    if (part == 0) {
      device_.Copy(arena_.gradients(), accumulated_.view());
    } else {
      device_.Add(accumulated_.view(), arena_.gradients(), false, accumulated_.view());
    }
    if (reads_at_end) {
      recording.Submit();
      UploadAhead();
    }
  }
  if (accumulates_ && !starts_early_) AddAccumulated({0, arena_.padded_size()});

  const View squares = norm_.view(DataType::kFloat64);
  if (clip || logs) device_.SumOfSquares(arena_.gradients(), squares);
  if (clip) device_.ClipScale(squares, settings_.clip_grad, clip_scale_.view());
  // Where messages are the host's it waits in any case, and may as well say where a NaN comes from.
  if (update_waits_) ReadLosses(unread, result);
  const int64_t waits = device_.waits();
  optimizer_->Step(result.learning_rate, clip ? ConstView(clip_scale_.view()) : ConstView());
  if (!measures) update_waits_ = device_.waits() > waits;
  if (settings_.model_ema > 0) {
    device_.Average(arena_.values(), settings_.model_ema, average_values_.view());
    device_.Average(arena_.state(), settings_.model_ema, average_state_.view());
  }
  recording.Stop();  // before the host waits, so that the device has work meanwhile
  if (step_ + 1 < last_step()) UploadAhead();
  ReadLosses(unread, result);
  if (logs) device_.CopyToHost(squares, &result.gradient_squares);
  CheckStep();

  ++step_;
  batch_index_ += parts;
  if (batch_index_ == batches_per_epoch_) {
    batch_index_ = 0;
    ++epoch_;
  }
  return result;
}

Trainer::ReadyBatch Trainer::TakeBatch() {
  const double start = MonotonicSeconds();
  ReadyBatch ready{.batch = pipeline_->Next([this] { communicator_.Progress(); })};
  ready.waited = MonotonicSeconds() - start;
  return ready;
}

int64_t Trainer::UploadNextBatch() {
  const TraceRange range(TraceCategory::kPhase, "data");
  const bool started = ahead_.has_value();
  const ReadyBatch next = started ? *std::exchange(ahead_, std::nullopt) : TakeBatch();
  data_this_epoch_ += next.waited;
  data_since_log_ += next.waited;
  if (started) {
    upload_->Finish(network_);
  } else {
    (*upload_)(next.batch, network_);
  }
  CountUnreadable(next.batch);
  return next.batch.rows;
}

void Trainer::UploadAhead() {
  if (!upload_->can_start_early()) return;
  const TraceRange range(TraceCategory::kPhase, "data ahead");
  try {
    ahead_ = TakeBatch();
  } catch (const Error&) {
    return;  // what has begun is to end first; the pipeline says so again when the batch is due
  }
  upload_->Start(ahead_->batch);
}

void Trainer::AddAccumulated(const Range& range) {
  const View part = arena_.gradients().Slice(range.begin, range.size());
  device_.Add(accumulated_.view().Slice(range.begin, range.size()), part, false, part);
}

Trainer::TrainedBatch Trainer::TrainOnBatch(int64_t rows, float gradient_scale, int64_t part,
                                            StepResult& result) {
  // Each rank drops other activations.
  const auto pass = static_cast<uint64_t>(
      (step_ * settings_.grad_accum_steps + part) * communicator_.size() + communicator_.rank());
  const double start = MonotonicSeconds();
  backward_started_ = 0;
  network_.ForwardBackward(gradient_scale, pass);
  result.forward += backward_started_ - start;
  return {batch_index_ + part, rows, pass};
}

void Trainer::ReadLosses(std::vector<TrainedBatch>& batches, StepResult& result) {
  if (batches.empty()) return;
  const std::vector<LossResult> losses = [&] {
    const TraceRange range(TraceCategory::kPhase, "read loss");
    return network_.ReadLosses(std::ssize(batches));
  }();
  result.backward += MonotonicSeconds() - backward_started_;
  for (size_t i = 0; i < batches.size(); ++i) {
    if (!std::isfinite(losses[i].loss_sum)) {
      ThrowNonFiniteLoss(losses[i].loss_sum, batches[i], i + 1 == batches.size());
    }
    result.training.Add(losses[i]);
    epoch_training_.Add(losses[i]);
    images_this_epoch_ += batches[i].rows;
    images_since_log_ += batches[i].rows;
  }
  batches.clear();
}

void Trainer::ThrowNonFiniteLoss(double loss, const TrainedBatch& batch, bool present) {
  progress_.Finish();
  if (!present) {  // since later ones have taken its place; the same is made again
    BatchPipeline pipeline(images_.train, MakePipelineOptions(), epoch_, batch.index);
    (*upload_)(pipeline.Next([this] { communicator_.Progress(); }), network_);
  }
  const std::optional<std::string> layer = network_.FirstNonFiniteLayer(batch.pass);
  throw Error(
      fmt::format("training step {}: the loss is {}{}", step_ + 1, loss,
                  layer ? fmt::format(", and the first activation that is not finite is that of "
                                      "layer {}",
                                      *layer)
                        : ""),
      "the checkpoints are intact; try a smaller --lr, --warmup-epochs 1 or --clip-grad 1");
}

void Trainer::CheckStep() {
  try {
    optimizer_->CheckStep();
  } catch (const Error&) {
    // What is wrong with another rank's message, that rank explains better, if it has the time.
    if (device_.FirstNonFinite(arena_.gradients()) < 0) AgreeOnSignal(communicator_, 0);
    throw;
  }
}

void Trainer::CountUnreadable(const Batch& batch) {
  unreadable_this_epoch_ += std::ssize(batch.unreadable);
  if (epoch_ > 0) return;
  for (const std::string& reason : batch.unreadable) {
    progress_.Finish();
    fmt::print(stderr, "left out: {}\n", reason);
  }
}

}  // namespace thinwire
