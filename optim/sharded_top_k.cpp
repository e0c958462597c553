#include "optim/sharded_top_k.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace thinwire {

ShardedTopK::ShardedTopK(const TopKShareShape& shape, Device& device, Communicator& communicator)
    : device_(device),
      communicator_(communicator),
      share_(device.MakeTopKShare(shape)),
      rounds_(TopKShare::Rounds(shape.type)),
      counts_(device.Allocate(rounds_ * TopKShare::kDigits * SizeOf(DataType::kInt32))),
      size_(device.Allocate(sizeof(TopKShare::Size))) {}

int64_t ShardedTopK::Agree(ConstView values) {
  const View counts = counts_.view(DataType::kInt32);
  for (int64_t round = 0; round < rounds_; ++round) {
    share_->Count(values, round, counts);
    communicator_.AllReduce(counts.Slice(round * TopKShare::kDigits, TopKShare::kDigits), 1,
                            Purpose::kControl);
  }
  share_->Measure(values, counts, size_.view(DataType::kUint8));
  TopKShare::Size size;
  device_.CopyToHost(size_.view(DataType::kUint8), &size);
  ties_ = size.ties;
  if (size.wanted_ties < size.all_ties) {  // the lower ranks' come first
    const std::vector<int64_t> ties = communicator_.AllGatherHost(size.ties);
    const int64_t before =
        std::accumulate(ties.begin(), ties.begin() + communicator_.rank(), int64_t{0});
    ties_ = std::clamp<int64_t>(size.wanted_ties - before, 0, size.ties);
  }
  return size.above + ties_;
}

void ShardedTopK::Choose(ConstView indices, ConstView values, int64_t index_offset,
                         View chosen_indices, View chosen_values) {
  share_->Choose(indices, values, ties_, index_offset, chosen_indices, chosen_values);
}

}  // namespace thinwire
