#include "train/evaluation.h"

namespace thinwire {

void Evaluation::Add(const LossResult& result) {
  loss_sum += result.loss_sum;
  rows += result.rows;
  correct_top1 += result.correct_top1;
  correct_top5 += result.correct_top5;
}

void UploadBatch(Device& device, const Batch& batch, Network& network) {
  device.CopyFromHost(batch.images.data(), network.images());
  device.CopyFromHost(batch.labels.data(), network.labels());
}

Evaluation Evaluate(Device& device, Network& network, const Dataset& dataset,
                    PipelineOptions options) {
  options.shuffle = false;
  options.drop_last = false;
  options.augmentation = {};
  BatchPipeline pipeline(dataset, options);
  Evaluation evaluation;
  for (int64_t i = 0; i < pipeline.batches_per_epoch(); ++i) {
    UploadBatch(device, pipeline.Next(), network);
    network.Infer();
    evaluation.Add(network.ReadLoss());
  }
  return evaluation;
}

}  // namespace thinwire
