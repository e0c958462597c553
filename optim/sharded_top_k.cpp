#include "optim/sharded_top_k.h"

#include <algorithm>
#include <array>
#include <bit>

namespace thinwire {
namespace {

constexpr int kDigitBits = 8;
constexpr size_t kDigits = 256;

/// Magnitudes as integers of the same order; a float32's fill the upper half.
uint64_t Key(double value, DataType type) {
  if (type == DataType::kFloat64) return std::bit_cast<uint64_t>(value) << 1;
  return uint64_t{std::bit_cast<uint32_t>(static_cast<float>(value)) << 1} << 32;
}

}  // namespace

void SelectAcrossRanks(Candidates& candidates, int64_t k, DataType type, Device& device,
                       Communicator& communicator) {
  if (communicator.size() == 1) {
    candidates.indices.resize(static_cast<size_t>(k));
    candidates.values.resize(static_cast<size_t>(k));
    return;
  }
  std::vector<uint64_t> keys;
  for (const double value : candidates.values) keys.push_back(Key(value, type));
  // The key of the k-th largest, digit by digit; `wanted` of those that agree so far are chosen.
  Buffer buffer = device.Allocate(kDigits * SizeOf(DataType::kInt32));
  const View counts_view = buffer.view(DataType::kInt32);
  uint64_t threshold = 0, known = 0;  // `known` masks the digits found
  int64_t wanted = k;
  const int last_shift = type == DataType::kFloat64 ? 0 : 32;
  for (int shift = 64 - kDigitBits; shift >= last_shift; shift -= kDigitBits) {
    std::array<int32_t, kDigits> counts{};
    for (const uint64_t key : keys) {
      if ((key & known) == threshold) ++counts[key >> shift & (kDigits - 1)];
    }
    device.CopyFromHost(counts.data(), counts_view);
    communicator.AllReduce(counts_view, 1, Purpose::kControl);
    device.CopyToHost(counts_view, counts.data());
    size_t digit = kDigits - 1;
    for (; digit > 0 && counts[digit] < wanted; --digit) wanted -= counts[digit];
    threshold |= static_cast<uint64_t>(digit) << shift;
    known |= static_cast<uint64_t>(kDigits - 1) << shift;
  }

  // Of those equal to the threshold the lower ranks' come first.
  const int64_t equal = std::count(keys.begin(), keys.end(), threshold);
  const std::vector<int64_t> all_equal = communicator.AllGatherHost(equal);
  for (int rank = 0; rank < communicator.rank(); ++rank) {
    wanted -= all_equal[static_cast<size_t>(rank)];
  }
  size_t kept = 0;
  for (size_t j = 0; j < keys.size(); ++j) {
    if (keys[j] < threshold || (keys[j] == threshold && wanted-- <= 0)) continue;
    candidates.indices[kept] = candidates.indices[j];
    candidates.values[kept] = candidates.values[j];
    ++kept;
  }
  candidates.indices.resize(kept);
  candidates.values.resize(kept);
}

}  // namespace thinwire
