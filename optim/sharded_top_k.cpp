#include "optim/sharded_top_k.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <type_traits>

namespace thinwire {
namespace {

constexpr int kDigitBits = 8;
constexpr size_t kDigits = 256;

/// Magnitudes as integers of the same order, the sign shifted out.
template <typename T>
uint64_t KeyOf(T value) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  return static_cast<Bits>(std::bit_cast<Bits>(value) << 1);
}

}  // namespace

ShardedTopK::ShardedTopK(int64_t k, Device& device, Communicator& communicator)
    : k_(k),
      device_(device),
      communicator_(communicator),
      counts_(device.Allocate(kDigits * SizeOf(DataType::kInt32))) {}

int64_t ShardedTopK::Select(View indices, View values) {
  if (communicator_.size() == 1) return k_;
  return values.type == DataType::kFloat64 ? SelectOf<double>(indices, values)
                                           : SelectOf<float>(indices, values);
}

template <typename T>
int64_t ShardedTopK::SelectOf(View indices, View values) {
  T* const value = values.as<T>();
  const auto count = static_cast<size_t>(values.size);
  remaining_.resize(count);
  for (size_t j = 0; j < count; ++j) remaining_[j] = KeyOf(value[j]);

  // The key of the k-th largest, digit by digit; `wanted` of those that agree so far are chosen.
  const View counts_view = counts_.view(DataType::kInt32);
  uint64_t threshold = 0;
  int64_t wanted = k_, agreeing = 0;
  for (int shift = 8 * sizeof(T) - kDigitBits; shift >= 0; shift -= kDigitBits) {
    const auto digit_of = [&](uint64_t key) { return key >> shift & (kDigits - 1); };
    std::array<int32_t, kDigits> counts{};
    for (const uint64_t key : remaining_) ++counts[digit_of(key)];
    device_.CopyFromHost(counts.data(), counts_view);
    communicator_.AllReduce(counts_view, 1, Purpose::kControl);
    device_.CopyToHost(counts_view, counts.data());
    uint64_t digit = kDigits - 1;
    for (; digit > 0 && counts[digit] < wanted; --digit) wanted -= counts[digit];
    agreeing = counts[digit];
    threshold |= digit << shift;
    size_t kept = 0;
    for (const uint64_t key : remaining_) {  // without a branch that would be guessed wrong
      remaining_[kept] = key;
      kept += digit_of(key) == digit;
    }
    remaining_.resize(kept);
  }

  // Of those equal to the threshold the lower ranks' come first.
  auto ties = std::ssize(remaining_);
  if (wanted < agreeing) {
    const std::vector<int64_t> equal = communicator_.AllGatherHost(ties);
    const auto before = equal.begin() + communicator_.rank();
    ties =
        std::clamp<int64_t>(wanted - std::accumulate(equal.begin(), before, int64_t{0}), 0, ties);
  }
  int32_t* const index = indices.as<int32_t>();
  size_t kept = 0;
  for (size_t j = 0; j < count; ++j) {
    const uint64_t key = KeyOf(value[j]);
    const bool tie = key == threshold && ties > 0;
    ties -= tie;
    index[kept] = index[j];
    value[kept] = value[j];
    kept += key > threshold || tie;
  }
  return static_cast<int64_t>(kept);
}

}  // namespace thinwire
