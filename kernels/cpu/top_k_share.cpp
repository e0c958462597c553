#include "kernels/cpu/top_k_share.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

namespace thinwire {
namespace {

constexpr int kDigitBits = 8;

template <typename T>
class CpuTopKShare : public TopKShare {
 public:
  explicit CpuTopKShare(const TopKShareShape& shape) : k_(shape.k) {
    remaining_.reserve(static_cast<size_t>(shape.size));
  }

  void Count(ConstView values, int64_t round, View counts) override {
    if (round == 0) {
      Start(values);
    } else {
      Narrow(round - 1, counts);
    }
    own_counts_.fill(0);
    for (const Key key : remaining_) ++own_counts_[DigitOf(key, round)];
    std::copy(own_counts_.begin(), own_counts_.end(), counts.as<int32_t>() + kDigits * round);
  }

  void Measure(ConstView, ConstView counts, View size) override {
    Narrow(Rounds(DataTypeOf()) - 1, counts);
    *size.as<Size>() = {.above = above_,
                        .ties = std::ssize(remaining_),
                        .wanted_ties = wanted_,
                        .all_ties = agreeing_};
  }

  void Choose(ConstView indices, ConstView values, int64_t ties, int64_t index_offset,
              View chosen_indices, View chosen_values) override {
    const auto offset = static_cast<int32_t>(index_offset);
    const int32_t* const index = indices.as<int32_t>();
    const T* const value = values.as<T>();
    int32_t* const chosen_index = chosen_indices.as<int32_t>();
    T* const chosen_value = chosen_values.as<T>();
    const int64_t wanted = above_ + ties;
    for (int64_t j = 0, chosen = 0; chosen < wanted; ++j) {
      const Key key = KeyOf(value[j]);
      const bool tie = key == threshold_ && ties > 0;
      ties -= tie;
      // Without a branch that would be guessed wrong: what is not chosen is written over.
      chosen_index[chosen] = index[j] + offset;
      chosen_value[chosen] = value[j];
      chosen += key > threshold_ || tie;
    }
  }

 private:
  using Key = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static constexpr DataType DataTypeOf() {
    return sizeof(T) == 8 ? DataType::kFloat64 : DataType::kFloat32;
  }

  /// Magnitudes as integers of the same order, the sign shifted out.
  static Key KeyOf(T value) {
    if (std::isnan(value)) value = std::numeric_limits<T>::quiet_NaN();
    return static_cast<Key>(std::bit_cast<Key>(value) << 1);
  }
  static size_t DigitOf(Key key, int64_t round) {
    return key >> (kDigitBits * (Rounds(DataTypeOf()) - 1 - round)) & (kDigits - 1);
  }

  void Start(ConstView values) {
    const auto count = static_cast<size_t>(values.size);
    remaining_.resize(count);
    for (size_t j = 0; j < count; ++j) remaining_[j] = KeyOf(values.as<T>()[j]);
    threshold_ = 0;
    above_ = 0;
    wanted_ = k_;
  }

  /// Takes the round's digit of the k-th largest from all devices' counts.
  void Narrow(int64_t round, ConstView counts) {
    const int32_t* const of_digit = counts.as<int32_t>() + kDigits * round;
    size_t digit = kDigits - 1;
    for (; digit > 0 && of_digit[digit] < wanted_; --digit) {
      wanted_ -= of_digit[digit];
      above_ += own_counts_[digit];
    }
    agreeing_ = of_digit[digit];
    threshold_ = static_cast<Key>(threshold_ << kDigitBits | digit);
    size_t kept = 0;
    for (const Key key : remaining_) {  // without a branch, as above
      remaining_[kept] = key;
      kept += DigitOf(key, round) == digit;
    }
    remaining_.resize(kept);
  }

  const int64_t k_;
  Key threshold_ = 0;           // the k-th largest's digits so far
  int64_t wanted_ = 0;          // of all devices' values that have them, how many are chosen
  int64_t agreeing_ = 0;        // of how many
  int64_t above_ = 0;           // own values that are known to be chosen
  std::vector<Key> remaining_;  // own values that have them
  std::array<int32_t, kDigits> own_counts_{};
};

}  // namespace

std::unique_ptr<TopKShare> MakeCpuTopKShare(const TopKShareShape& shape) {
  if (shape.type == DataType::kFloat64) return std::make_unique<CpuTopKShare<double>>(shape);
  return std::make_unique<CpuTopKShare<float>>(shape);
}

}  // namespace thinwire
