#include "datasets/batch_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kOrderKey = 0x6f726465723a3a31;  // keeps apart from other uses of a seed

/// Fisher and Yates' shuffle of 0, …, n - 1: a pure function of (seed, epoch).
void Shuffle(uint64_t seed, int64_t epoch, std::vector<uint32_t>& order) {
  std::iota(order.begin(), order.end(), 0u);
  RandomStream random(seed ^ kOrderKey, static_cast<uint64_t>(epoch));
  for (size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[random.Below(static_cast<uint32_t>(i + 1))]);
  }
}

int64_t BatchesPerEpoch(int64_t count, const BatchOrderOptions& options) {
  const int64_t global_batch = options.batch_size * options.ranks;
  return (count + (options.drop_last ? 0 : global_batch - 1)) / global_batch;
}

}  // namespace

BatchOrder::BatchOrder(int64_t count, const BatchOrderOptions& options)
    : options_(options),
      batches_per_epoch_(BatchesPerEpoch(count, options)),
      order_(static_cast<size_t>(count)) {
  std::iota(order_.begin(), order_.end(), 0u);
}

std::span<const uint32_t> BatchOrder::Rows(int64_t epoch, int64_t batch) {
  if (options_.shuffle && epoch != epoch_) {
    Shuffle(options_.seed, epoch, order_);
    epoch_ = epoch;
  }
  const int64_t count = std::ssize(order_);
  const int64_t begin =
      std::min((batch * options_.ranks + options_.rank) * options_.batch_size, count);
  const int64_t rows = std::min(options_.batch_size, count - begin);
  return std::span(order_).subspan(static_cast<size_t>(begin), static_cast<size_t>(rows));
}

}  // namespace thinwire
