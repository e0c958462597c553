// Loss and accuracy of a network over a data set.
#pragma once

#include "comm/communicator.h"
#include "datasets/batch_pipeline.h"
#include "layers/network.h"

namespace thinwire {

/// Sums over all images; the means are what people read.
struct Evaluation {
  double loss_sum = 0;
  int64_t rows = 0;
  int64_t correct_top1 = 0;
  int64_t correct_top5 = 0;
  int64_t unreadable = 0;  // images that were left out

  void Add(const LossResult& result);
  double loss() const { return loss_sum / static_cast<double>(rows); }
  double top1() const { return static_cast<double>(correct_top1) / static_cast<double>(rows); }
  double top5() const { return static_cast<double>(correct_top5) / static_cast<double>(rows); }
};

/// Runs the whole data set through an inference network of options.batch_size, each image once.
/// Shuffling and augmentation of `options` are ignored. With a communicator each rank takes its
/// part, and all get the sums.
Evaluation Evaluate(Device& device, Network& network, const Dataset& dataset,
                    PipelineOptions options, Communicator* communicator = nullptr);

/// The sums over all ranks, as measurements.
Evaluation SumOverRanks(Communicator& communicator, Device& device, const Evaluation& own);

}  // namespace thinwire
