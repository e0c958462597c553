#include "optim/sparse_coding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/random.h"
#include "optim/random_choice.h"

namespace thinwire {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
constexpr DataType kType = sizeof(T) == 4 ? DataType::kFloat32 : DataType::kFloat64;

template <typename T>
View ViewOf(std::vector<T>& values) {
  return {values.data(), std::ssize(values), kType<T>};
}

View IndexView(std::vector<int32_t>& indices) {
  return {indices.data(), std::ssize(indices), DataType::kInt32};
}

std::vector<SparseFormat> AllFormats() {
  std::vector<SparseFormat> formats;
  for (const IndexCoding indices : {IndexCoding::kPlain, IndexCoding::kPacked}) {
    for (const ValueType values : {ValueType::kFull, ValueType::kBF16, ValueType::kF16}) {
      formats.push_back({indices, values});
    }
  }
  return formats;
}

template <typename T>
struct Sparse {
  std::vector<int32_t> indices;
  std::vector<T> values;
  bool operator==(const Sparse&) const = default;
};

template <typename T>
std::vector<std::byte> Encode(Sparse<T> sparse, Range range, SparseFormat format) {
  std::vector<std::byte> message;
  EncodeSparse(IndexView(sparse.indices), ViewOf(sparse.values), range, format, message);
  return message;
}

template <typename T>
Sparse<T> Decode(std::span<const std::byte> message, Range range, SparseFormat format,
                 int64_t room) {
  Sparse<T> sparse{std::vector<int32_t>(static_cast<size_t>(room)),
                   std::vector<T>(static_cast<size_t>(room))};
  const auto count = static_cast<size_t>(
      DecodeSparse(message, range, format, IndexView(sparse.indices), ViewOf(sparse.values)));
  sparse.indices.resize(count);
  sparse.values.resize(count);
  return sparse;
}

/// Values of many magnitudes, as gradients have them, that a format holds exactly.
template <typename T>
std::vector<T> RandomValues(int64_t count, ValueType type) {
  RandomStream random(7, static_cast<uint64_t>(count));
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) {
    value = static_cast<T>(std::ldexp(random.Normal(), -static_cast<int>(random.Below(30))));
  }
  RoundValues(type, ViewOf(values));
  return values;
}

template <typename T>
void ExpectRoundTrip(const std::vector<int32_t>& indices, Range range) {
  for (const SparseFormat format : AllFormats()) {
    const Sparse<T> sparse{indices, RandomValues<T>(std::ssize(indices), format.values)};
    const auto message = Encode(sparse, range, format);
    EXPECT_LE(std::ssize(message), MaxSparseBytes(std::ssize(indices), range, format, kType<T>));
    EXPECT_TRUE(Decode<T>(message, range, format, std::ssize(indices)) == sparse)
        << indices.size() << " of [" << range.begin << ", " << range.end << ")";
  }
}

TEST(SparseCodingTest, RoundTripsUniformIndices) {
  for (const int64_t size : {0, 1, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1'000'007}) {
    for (const int64_t divisor : {1, 2, 62, 1000}) {
      const Range range{5, 5 + size};
      std::vector<int32_t> indices;
      ChooseRandomly(std::vector{range}, size / divisor, {}, indices);
      ExpectRoundTrip<float>(indices, range);
      ExpectRoundTrip<double>(indices, range);
    }
  }
}

TEST(SparseCodingTest, RoundTripsExtremeGaps) {
  constexpr int32_t kLast = std::numeric_limits<int32_t>::max() - 1;
  const Range all{0, int64_t{kLast} + 1};
  for (const std::vector<int32_t>& indices :
       std::vector<std::vector<int32_t>>{{0}, {kLast}, {0, kLast}, {0, 1, kLast - 1, kLast}}) {
    ExpectRoundTrip<float>(indices, all);
  }
  // Dense runs, a leap at each place of a block.
  for (int32_t leap_at = 0; leap_at < 260; ++leap_at) {
    std::vector<int32_t> indices;
    for (int32_t i = 0; i < 260; ++i) indices.push_back(i + (i >= leap_at ? kLast - 259 : 0));
    ExpectRoundTrip<float>(indices, all);
  }
}

/// Clusters of dense runs, and dense and sparse stretches in turn.
TEST(SparseCodingTest, RoundTripsClusters) {
  RandomStream random(3, 0);
  std::vector<int32_t> indices;
  int32_t next = 0;
  while (next < 50'000'000) {
    const uint32_t spread = 1u << random.Below(18);
    for (uint32_t i = random.Below(1000); i > 0; --i) {
      next += static_cast<int32_t>(random.Below(spread));
      indices.push_back(next++);
    }
  }
  ExpectRoundTrip<float>(indices, {0, next});
}

TEST(SparseCodingTest, AppendsAndPlainBytesAreAsDocumented) {
  std::vector<int32_t> indices{3, 9};
  std::vector<float> values{1.5f, -2};
  std::vector<std::byte> message{std::byte{42}};
  EncodeSparse(IndexView(indices), ViewOf(values), {0, 10}, {IndexCoding::kPlain, ValueType::kBF16},
               message);
  const std::vector<uint8_t> expected{42, 2, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 0xC0, 0x3F, 0, 0xC0};
  ASSERT_EQ(message.size(), expected.size());
  EXPECT_EQ(std::memcmp(message.data(), expected.data(), expected.size()), 0);
}

TEST(SparseCodingTest, PackedBytesAreAsDocumented) {
  // Gaps 0, 5, 3: mean 8/3, ln(2) times it 1.8, width 0: ones after 0, 5 and 3 zeros.
  std::vector<int32_t> indices{10, 16, 20};
  std::vector<float> values{1, 1, 1};
  const auto message =
      Encode(Sparse<float>{indices, values}, {10, 30}, {IndexCoding::kPacked, ValueType::kF16});
  const std::vector<uint8_t> expected{3, 0,    0, 0,    0b0010'0000, 0b1000'1000,
                                      0, 0x3C, 0, 0x3C, 0,           0x3C};
  ASSERT_EQ(message.size(), expected.size());
  EXPECT_EQ(std::memcmp(message.data(), expected.data(), expected.size()), 0);
}

TEST(SparseCodingTest, PackedIndicesTakeLittleMoreThanTheirEntropy) {
  constexpr int64_t kSize = 11'173'962, kCount = kSize * 16 / 1000;
  const Range range{0, kSize};
  std::vector<int32_t> indices;
  ChooseRandomly(std::vector{range}, kCount, {}, indices);
  const auto message = Encode(Sparse<float>{indices, std::vector<float>(kCount)}, range,
                              {IndexCoding::kPacked, ValueType::kFull});
  const double bits = 8.0 * static_cast<double>(message.size()) / kCount - 32;
  const auto log2_factorial = [](double n) { return std::lgamma(n + 1) / std::log(2.0); };
  const double entropy =
      (log2_factorial(kSize) - log2_factorial(kCount) - log2_factorial(kSize - kCount)) / kCount;
  EXPECT_GT(bits, entropy);
  EXPECT_LT(bits, 1.02 * entropy);
}

TEST(SparseCodingTest, EncodingReusesItsMemory) {
  const Range range{0, 100'000};
  std::vector<int32_t> indices;
  ChooseRandomly(std::vector{range}, 3000, {}, indices);
  std::vector<float> values(indices.size(), 1);
  for (const SparseFormat format : AllFormats()) {
    std::vector<std::byte> message;
    EncodeSparse(IndexView(indices), ViewOf(values), range, format, message);
    const std::byte* const memory = message.data();
    message.clear();
    EncodeSparse(IndexView(indices), ViewOf(values), range, format, message);
    EXPECT_EQ(message.data(), memory);
  }
}

/// Decodes, if it can: what comes out has to be valid.
template <typename T>
bool ValidOrRefused(std::span<const std::byte> message, Range range, SparseFormat format,
                    int64_t room) {
  // A copy of its own, so that a read past its end is seen.
  const std::vector<std::byte> copy(message.begin(), message.end());
  try {
    const Sparse<T> sparse = Decode<T>(copy, range, format, room);
    int64_t next = range.begin;
    for (const int32_t index : sparse.indices) {
      if (index < next || index >= range.end) return false;
      next = int64_t{index} + 1;
    }
    for (const T value : sparse.values) {
      if (!std::isfinite(value)) return false;
    }
    return true;
  } catch (const Error&) {
    return true;
  }
}

template <typename T>
void CorruptEverything() {
  const Range range{100, 4100};
  for (const int64_t count : {0, 1, 5, 33, 130}) {
    std::vector<int32_t> indices;
    ChooseRandomly(std::vector{range}, count, {}, indices);
    for (const SparseFormat format : AllFormats()) {
      const auto message =
          Encode(Sparse<T>{indices, RandomValues<T>(count, format.values)}, range, format);
      for (size_t size = 0; size < message.size(); ++size) {
        EXPECT_THROW(Decode<T>(std::span(message).first(size), range, format, count), Error);
      }
      for (const int extra : {0, 1, 0xFF}) {
        auto longer = message;
        longer.push_back(static_cast<std::byte>(extra));
        EXPECT_THROW(Decode<T>(longer, range, format, count), Error);
      }
      for (size_t bit = 0; bit < 8 * message.size(); ++bit) {
        auto corrupt = message;
        corrupt[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_TRUE(ValidOrRefused<T>(corrupt, range, format, count)) << bit;
        EXPECT_TRUE(ValidOrRefused<T>(corrupt, range, format, range.size())) << bit;
      }
    }
  }
}
TEST(SparseCodingTest, CorruptMessagesAreValidOrRefused) {
  CorruptEverything<float>();
  CorruptEverything<double>();
}

TEST(SparseCodingTest, RandomBytesAreValidOrRefused) {
  RandomStream random(11, 0);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<std::byte> message(4 + random.Below(60));
    for (std::byte& byte : message) byte = static_cast<std::byte>(random.Next());
    const uint32_t count = random.Below(20);
    std::memcpy(message.data(), &count, 4);
    const Range range{7, int64_t{7} + (int64_t{1} << random.Below(31))};
    for (const SparseFormat format : AllFormats()) {
      EXPECT_TRUE(ValidOrRefused<float>(message, range, format, 20));
    }
  }
}

std::string Refusal(std::vector<int32_t> indices, std::vector<float> values, Range range,
                    SparseFormat format, int64_t room, size_t cut = 0, Range encoded = {0, 1000}) {
  auto message = Encode(Sparse<float>{indices, values}, encoded, format);
  message.resize(message.size() - cut);
  try {
    Decode<float>(message, range, format, room);
  } catch (const Error& error) {
    return error.what();
  }
  return "decoded";
}

TEST(SparseCodingTest, RefusalsSayWhatIsWrong) {
  const SparseFormat plain{}, packed{.indices = IndexCoding::kPacked};
  const auto expect = [](const std::string& refusal, const std::string& part) {
    EXPECT_NE(refusal.find(part), std::string::npos) << refusal;
  };
  expect(Refusal({1}, {1}, {0, 1000}, plain, 1, 9), "of 3 bytes has no room for its count");
  expect(Refusal({1, 2}, {1, 1}, {0, 1000}, plain, 1), "announces 2 values where 1 are allowed");
  expect(Refusal({1, 2}, {1, 1}, {0, 1}, plain, 2), "announces 2 values where 1 are allowed");
  expect(Refusal({1, 2}, {1, 1}, {0, 1000}, plain, 2, 1), "of 19 bytes does not fit the 2 values");
  expect(Refusal({1, 9}, {1, 1}, {0, 1000}, packed, 2, 8), "of 6 bytes does not fit the 2 values");
  expect(Refusal({1, 900}, {1, 1}, {0, 1000}, packed, 2, 1), "ends within its indices");
  for (const SparseFormat format : {plain, packed}) {
    expect(Refusal({1, 900}, {1, 1}, {0, 900}, format, 2), "holds an index beyond its range");
  }
  expect(Refusal({3, 9}, {1, 1}, {4, 900}, plain, 2), "holds an index beyond its range");
  expect(Refusal({9, 9}, {1, 1}, {0, 900}, plain, 2), "indices that do not rise");
  expect(Refusal({9, 3, 10}, {1, 1, 1}, {0, 900}, plain, 3), "indices that do not rise");
  for (const SparseFormat format : AllFormats()) {
    for (const double value : {kInfinity, -kInfinity, std::nan("")}) {
      expect(Refusal({3, 9}, {1, static_cast<float>(value)}, {0, 900}, format, 2),
             "a value that is NaN or infinite");
    }
  }
}

/// All finite numbers of a 16-bit format, by its definition.
std::map<double, uint16_t> AllNumbers(int exponent_bits, int fraction_bits) {
  std::map<double, uint16_t> numbers;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  for (int bits = 0; bits < ((1 << exponent_bits) - 1) << fraction_bits; ++bits) {
    const int exponent = bits >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
    const int whole = exponent > 0 ? fraction + (1 << fraction_bits) : fraction;
    numbers[std::ldexp(whole, std::max(exponent, 1) - bias - fraction_bits)] =
        static_cast<uint16_t>(bits);
  }
  return numbers;
}

template <typename T>
T Rounded(ValueType type, T value) {
  RoundValues(type, {&value, 1, kType<T>});
  return value;
}

/// Around every number and every midpoint of neighbours: the definition of rounding itself.
template <typename T>
void ExpectRounding(ValueType type, const std::map<double, uint16_t>& numbers) {
  const auto expect = [&](T value, double rounded) {
    ASSERT_EQ(Rounded<T>(type, value), rounded) << value;
    ASSERT_EQ(Rounded<T>(type, -value), -rounded) << -value;
    ASSERT_TRUE(std::signbit(Rounded<T>(type, -value)));
  };
  const auto below = [](T x) { return std::nextafter(x, T{0}); };
  const auto above = [](T x) { return std::nextafter(x, std::numeric_limits<T>::infinity()); };
  for (auto lower = numbers.begin(); std::next(lower) != numbers.end(); ++lower) {
    const auto upper = std::next(lower);
    const T middle = static_cast<T>((lower->first + upper->first) / 2);
    expect(static_cast<T>(lower->first), lower->first);
    if (double{middle} <= lower->first || double{middle} >= upper->first) continue;
    expect(below(middle), lower->first);
    expect(middle, lower->second % 2 == 0 ? lower->first : upper->first);
    expect(above(middle), upper->first);
  }
  const double largest = numbers.rbegin()->first;
  for (const T value : {static_cast<T>(largest), above(static_cast<T>(largest)),
                        static_cast<T>(largest * 1.001), std::numeric_limits<T>::max()}) {
    expect(value, largest);
  }
  expect(std::numeric_limits<T>::denorm_min(), 0);
  EXPECT_EQ(Rounded<T>(type, std::numeric_limits<T>::infinity()), kInfinity);
  EXPECT_EQ(Rounded<T>(type, -std::numeric_limits<T>::infinity()), -kInfinity);
  EXPECT_TRUE(std::isnan(Rounded<T>(type, std::numeric_limits<T>::quiet_NaN())));
}

TEST(SparseCodingTest, RoundsToNearestEven) {
  ExpectRounding<float>(ValueType::kBF16, AllNumbers(8, 7));
  ExpectRounding<double>(ValueType::kBF16, AllNumbers(8, 7));
  ExpectRounding<float>(ValueType::kF16, AllNumbers(5, 10));
  ExpectRounding<double>(ValueType::kF16, AllNumbers(5, 10));
  EXPECT_EQ(Rounded(ValueType::kFull, 0.1), 0.1);
}

/// Every number goes over the wire with the format's own bits.
template <typename T>
void ExpectBits(ValueType type, const std::map<double, uint16_t>& numbers) {
  const SparseFormat format{IndexCoding::kPlain, type};
  for (const double sign : {1.0, -1.0}) {
    Sparse<T> sparse;
    for (const auto& [value, bits] : numbers) {
      sparse.indices.push_back(static_cast<int32_t>(sparse.indices.size()));
      sparse.values.push_back(static_cast<T>(sign * value));
    }
    const int64_t count = std::ssize(sparse.indices);
    const auto message = Encode(sparse, {0, count}, format);
    const std::byte* place = message.data() + 4 + 4 * count;
    for (const auto& [value, bits] : numbers) {
      uint16_t sent;
      std::memcpy(&sent, place, 2);
      ASSERT_EQ(sent, sign > 0 ? bits : bits | 0x8000) << value;
      place += 2;
    }
    EXPECT_TRUE(Decode<T>(message, {0, count}, format, count) == sparse);
  }
}

TEST(SparseCodingTest, SendsTheFormatsBits) {
  ExpectBits<float>(ValueType::kBF16, AllNumbers(8, 7));
  ExpectBits<double>(ValueType::kBF16, AllNumbers(8, 7));
  ExpectBits<float>(ValueType::kF16, AllNumbers(5, 10));
  ExpectBits<double>(ValueType::kF16, AllNumbers(5, 10));
}

}  // namespace
}  // namespace thinwire
