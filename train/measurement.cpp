#include "train/measurement.h"

#include <cstdint>

namespace thinwire {

std::vector<double> SumOverRanks(Communicator& communicator, Device& device,
                                 std::span<const double> numbers) {
  std::vector<double> sums(numbers.begin(), numbers.end());
  if (communicator.size() == 1) return sums;
  const auto ranks = static_cast<size_t>(communicator.size());
  const size_t count = numbers.size();
  std::vector<double> all(ranks * count);
  const Buffer own = device.Allocate(static_cast<int64_t>(count * sizeof(double)));
  const Buffer gathered = device.Allocate(static_cast<int64_t>(all.size() * sizeof(double)));
  device.CopyFromHost(numbers.data(), own.view(DataType::kFloat64));
  const std::vector<int64_t> counts(ranks, static_cast<int64_t>(count));
  communicator.AllGather(own.view(DataType::kFloat64), gathered.view(DataType::kFloat64), counts,
                         Purpose::kMeasurement);
  device.CopyToHost(gathered.view(DataType::kFloat64), all.data());
  for (size_t i = 0; i < count; ++i) {
    sums[i] = 0;
    for (size_t rank = 0; rank < ranks; ++rank) sums[i] += all[rank * count + i];
  }
  return sums;
}

}  // namespace thinwire
