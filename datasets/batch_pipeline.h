// Worker threads that shuffle, decode, augment and normalise batches ahead of the training loop,
// all of them at one batch after another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/image_maker.h"

namespace thinwire {

struct PipelineOptions {
  int64_t batch_size = 128;  // of this rank
  bool shuffle = true;
  /// true: an epoch's last, uneven batch is left out; false: it is padded with label -1.
  bool drop_last = true;
  AugmentationOptions augmentation = {};
  Normalization normalization = {};
  /// Whether batches are bytes with what is to be done to them (ImageAugmentation), not images.
  /// Of encoded images they are decoded, cropped and flipped, and left to be normalised.
  bool deliver_bytes = false;
  uint64_t seed = 0;
  int64_t rank = 0, ranks = 1;
  int threads = 1;
  int64_t prefetch = 2;  // batches that are ready ahead, or more if threads had to idle
};

/// One batch; the memory belongs to the pipeline and is valid until the next call of Next.
struct Batch {
  std::span<const float> images;  // [batch_size, height, width, channels]; padding is zero
  // Instead, if bytes are delivered:
  std::span<const uint8_t> bytes;               // [rows, height, width, channels]
  std::span<const Augmentation> augmentations;  // [rows]
  std::span<const int32_t> labels;  // [batch_size]; -1 marks padding and unreadable images
  int64_t rows = 0;                 // without padding, which comes last; may be 0
  int64_t epoch = 0, index = 0;     // which batch of which epoch
  bool last_of_epoch = false;
  /// Why images could not be decoded that the data set allows to be left out. Each row of theirs
  /// holds a copy of another image of the batch, for the batch norms, and counts for nothing else.
  std::span<const std::string> unreadable;
};

/// Delivers batches in order, epoch after epoch, for ever. Which images, in which order and with
/// which augmentation is a pure function of (seed, epoch, index): it does not depend on the number
/// of threads, and the ranks' batches together are those of one rank with ranks * batch_size:
/// batch i of rank r is rows r * batch_size … of that one's batch i. So without drop_last, in the
/// last batch of an epoch the first ranks may have full batches and the last ones padding alone;
/// all ranks have equally many batches, and each image is in one of them once.
class BatchPipeline {
 public:
  /// Starts at batch `first_index` of `first_epoch`, for resuming. The data set must outlive it.
  /// @throws Error (usage) for options that make no sense or leave an epoch without batches.
  BatchPipeline(const Dataset& dataset, const PipelineOptions& options, int64_t first_epoch = 0,
                int64_t first_index = 0);
  /// Stops the workers, whatever they are doing.
  ~BatchPipeline();

  /// Waits for the next batch, and calls `while_waiting`, if any, once a second meanwhile.
  /// @throws what making it threw, now and at every further call.
  Batch Next(const std::function<void()>& while_waiting = {});
  int64_t batches_per_epoch() const;
  const PipelineOptions& options() const;
  const ImageMaker& image_maker() const;

 private:
  struct Workers;
  std::unique_ptr<Workers> workers_;
};

}  // namespace thinwire
