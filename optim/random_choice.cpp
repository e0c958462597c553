#include "optim/random_choice.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/random.h"

namespace thinwire {
namespace {

// Keeps these streams apart from others of the same seed.
constexpr uint64_t kChoiceKey = 0x52616E642D4B2121;

constexpr int32_t kFree = -1;

/// A set of numbers in [0, bound): an open-addressed table whose hash keeps order. A number's home
/// is its share of the slots; from there on it lies in order with those that it met, so the table
/// read from end to end is sorted.
class OrderedTable {
 public:
  OrderedTable(int64_t capacity, uint64_t bound, std::vector<int32_t>& slots)
      : slots_(slots), homes_(2 * static_cast<uint64_t>(capacity)), bound_(bound) {
    // Half of the homes stay free; behind them there is room for any run that passes the last.
    slots_.assign(static_cast<size_t>(3 * capacity), kFree);
  }

  /// Whether it was not there yet.
  bool Insert(int32_t number) {
    size_t slot = static_cast<size_t>(static_cast<uint64_t>(number) * homes_ / bound_);
    while (slots_[slot] != kFree && slots_[slot] < number) ++slot;
    if (slots_[slot] == number) return false;
    while (slots_[slot] != kFree) std::swap(slots_[slot++], number);
    slots_[slot] = number;
    return true;
  }

 private:
  std::vector<int32_t>& slots_;
  uint64_t homes_, bound_;
};

}  // namespace

void ChooseRandomly(std::span<const Range> ranges, int64_t k, const RandomChoice& choice,
                    std::vector<int32_t>& indices) {
  int64_t elements = 0;
  for (const Range& range : ranges) elements += range.size();
  const uint64_t stream = static_cast<uint64_t>(choice.step) << 21 |
                          static_cast<uint64_t>(choice.rank) << 1 |
                          static_cast<uint64_t>(choice.direction);

  // Floyd's algorithm: of the numbers up to `last` one is drawn, `last` itself if that is taken.
  // (Bentley and Floyd, "A sample of brilliance", 1987.)
  OrderedTable chosen(k, static_cast<uint64_t>(elements), indices);
  std::array<uint32_t, 4> words{};
  for (int64_t i = 0; i < k; ++i) {
    const int64_t last = elements - k + i;
    if (i % 2 == 0) words = Philox(choice.seed ^ kChoiceKey, stream, static_cast<uint64_t>(i / 2));
    // 64 random bits times the bound, over 2^64: the bias is below 2^-33.
    const auto bound = static_cast<uint64_t>(last + 1);
    const uint64_t low = words[2 * (i % 2)], high = words[2 * (i % 2) + 1];
    const uint64_t drawn = (high * bound + (low * bound >> 32)) >> 32;
    if (!chosen.Insert(static_cast<int32_t>(drawn))) chosen.Insert(static_cast<int32_t>(last));
  }
  std::erase(indices, kFree);

  // From places among the elements to the elements.
  auto range = ranges.begin();
  int64_t before = 0;
  for (int32_t& index : indices) {
    while (index - before >= range->size()) before += (range++)->size();
    index = static_cast<int32_t>(range->begin + (index - before));
  }
}

std::span<const int32_t> Within(std::span<const int32_t> indices, Range range) {
  const auto begin = std::lower_bound(indices.begin(), indices.end(), range.begin);
  return {begin, std::lower_bound(begin, indices.end(), range.end)};
}

}  // namespace thinwire
