#include "train/evaluation.h"

#include <functional>
#include <vector>

#include "kernels/trace_range.h"
#include "train/batch_upload.h"
#include "train/measurement.h"

namespace thinwire {

void Evaluation::Add(const LossResult& result) {
  loss_sum += result.loss_sum;
  rows += result.rows;
  correct_top1 += result.correct_top1;
  correct_top5 += result.correct_top5;
}

Evaluation Evaluate(Device& device, Network& network, const Dataset& dataset,
                    PipelineOptions options, Communicator* communicator) {
  options.shuffle = false;
  options.drop_last = false;
  options.augmentation = {};
  options.deliver_bytes = DeliversBytes(device);
  std::function<void()> progress;
  if (communicator != nullptr) {
    options.rank = communicator->rank();
    options.ranks = communicator->size();
    progress = [communicator] { communicator->Progress(); };
  }
  BatchPipeline pipeline(dataset, options);
  BatchUpload upload(device, pipeline);
  Evaluation evaluation;
  const auto take = [&] {
    const Batch batch = pipeline.Next(progress);
    if (progress) progress();
    evaluation.unreadable += std::ssize(batch.unreadable);
    return batch;
  };
  bool started = false;  // so that the batch is on its way to a device that computes meanwhile
  Batch batch = take();
  // Of several ranks the last ones may have no images in the last batch.
  for (int64_t i = 1; batch.rows > 0; ++i) {
    {
      const TraceRange range(TraceCategory::kPhase, "data");
      started ? upload.Finish(network) : upload(batch, network);
    }
    network.Infer();
    batch = {};
    if (i < pipeline.batches_per_epoch()) {
      const TraceRange range(TraceCategory::kPhase, "data ahead");
      batch = take();
      started = upload.can_start_early();
      if (started) upload.Start(batch);
    }
    const TraceRange range(TraceCategory::kPhase, "read loss");
    evaluation.Add(network.ReadLoss());
  }
  return communicator != nullptr ? SumOverRanks(*communicator, device, evaluation) : evaluation;
}

Evaluation SumOverRanks(Communicator& communicator, Device& device, const Evaluation& own) {
  const double numbers[] = {
      own.loss_sum, static_cast<double>(own.rows), static_cast<double>(own.correct_top1),
      static_cast<double>(own.correct_top5), static_cast<double>(own.unreadable)};
  const std::vector<double> sums = SumOverRanks(communicator, device, numbers);
  return {sums[0], static_cast<int64_t>(sums[1]), static_cast<int64_t>(sums[2]),
          static_cast<int64_t>(sums[3]), static_cast<int64_t>(sums[4])};
}

}  // namespace thinwire
