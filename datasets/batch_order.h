// Which images are in which batch of which rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace thinwire {

struct BatchOrderOptions {
  int64_t batch_size = 1;  // of this rank
  bool shuffle = true;
  bool drop_last = true;
  uint64_t seed = 0;
  int64_t rank = 0, ranks = 1;
};

/// A pure function of the options, epoch and batch; batch i of rank r is rows
/// (i * ranks + r) * batch_size … of the epoch's order.
class BatchOrder {
 public:
  /// @param count Of the data set's images. @pre The options make sense.
  BatchOrder(int64_t count, const BatchOrderOptions& options);

  int64_t batches_per_epoch() const { return batches_per_epoch_; }
  /// The images of a batch, of which there may be fewer than batch_size, or none, in the last one
  /// without drop_last. Valid until the next call.
  std::span<const uint32_t> Rows(int64_t epoch, int64_t batch);

 private:
  const BatchOrderOptions options_;
  const int64_t batches_per_epoch_;
  std::vector<uint32_t> order_;  // of the images in epoch_
  int64_t epoch_ = -1;
};

}  // namespace thinwire
