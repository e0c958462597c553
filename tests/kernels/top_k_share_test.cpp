// Shares of a Top-K, put together, against a stable sort of everything in float64.
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/compression.h"
#include "tests/device_test.h"
#include "tests/reference/compression.h"

namespace thinwire {
namespace {

template <typename Backend>
class TopKShareTest : public DeviceTest<Backend> {
 protected:
  void Check(const std::vector<float>& v, const std::vector<int64_t>& part_sizes, int64_t k) {
    CheckAs<float>(v, part_sizes, k);
    CheckAs<double>(v, part_sizes, k);
  }

  /// Cuts v into parts, as if each were on a device of its own.
  template <typename T>
  void CheckAs(const std::vector<float>& v, const std::vector<int64_t>& part_sizes, int64_t k) {
    constexpr DataType kType = DataTypeOf<T>();
    constexpr auto kDigits = static_cast<size_t>(TopKShare::kDigits);
    SCOPED_TRACE(::testing::Message() << v.size() << " elements in " << part_sizes.size()
                                      << " parts, k " << k << ", " << sizeof(T) << " bytes");
    Device& device = *this->device_;
    struct Part {
      TestBuffer<T> values;
      TestBuffer<int32_t> indices, counts;
      std::unique_ptr<TopKShare> share;
    };
    std::vector<Part> parts;
    auto from = v.begin();
    const auto rounds = static_cast<size_t>(TopKShare::Rounds(kType));
    for (const int64_t size : part_sizes) {
      std::vector<int32_t> indices(static_cast<size_t>(size));
      std::iota(indices.begin(), indices.end(), 3);
      const auto misalignment = static_cast<int64_t>(parts.size());
      parts.push_back({{device, {from, from + size}, misalignment},
                       {device, indices, misalignment},
                       // What was there before does not count.
                       {device, std::vector<int32_t>(kDigits * rounds, 77)},
                       device.MakeTopKShare({.size = size, .k = k, .type = kType})});
      from += size;
    }

    std::vector<int32_t> sums(kDigits * rounds);
    for (size_t round = 0; round < rounds; ++round) {
      for (const Part& part : parts) {
        part.share->Count(part.values, static_cast<int64_t>(round), part.counts);
        const std::vector<int32_t> counts = part.counts.Read();
        for (size_t d = kDigits * round; d < kDigits * (round + 1); ++d) sums[d] += counts[d];
      }
      const std::vector<int32_t> so_far(sums.begin(), sums.begin() + kDigits * (round + 1));
      for (const Part& part : parts) {
        device.CopyFromHost(so_far.data(), part.counts.view().Slice(0, std::ssize(so_far)));
      }
    }

    reference::Selection chosen;
    int64_t ties_left = -1, all_ties = 0, counted_ties = 0, offset = -3;
    for (size_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      const TestBuffer<uint8_t> size_bytes(device, sizeof(TopKShare::Size));
      part.share->Measure(part.values, part.counts, size_bytes);
      TopKShare::Size size;
      device.CopyToHost(size_bytes, &size);
      if (ties_left < 0) {
        ties_left = size.wanted_ties;
        all_ties = size.all_ties;
      }
      counted_ties += size.ties;
      const int64_t ties = std::min(ties_left, size.ties);
      ties_left -= ties;
      const TestBuffer<int32_t> indices(device, size.above + ties);
      const TestBuffer<T> values(device, size.above + ties);
      part.share->Choose(part.indices, part.values, ties, offset, indices, values);
      for (const int32_t index : indices.Read()) chosen.indices.push_back(index);
      for (const T value : values.Read()) chosen.values.push_back(value);
      offset += part_sizes[i];
    }
    EXPECT_EQ(ties_left, 0);
    EXPECT_EQ(counted_ties, all_ties);
    const auto size = static_cast<int64_t>(v.size());
    const auto expected =
        reference::SelectTopK({.size = size, .ranges = {{0, size}}, .k = k}, {v.begin(), v.end()});
    ASSERT_EQ(chosen.indices, expected.indices);
    for (size_t i = 0; i < chosen.values.size(); ++i) {
      if (std::isnan(expected.values[i])) {
        ASSERT_TRUE(std::isnan(chosen.values[i])) << i;
      } else {
        ASSERT_EQ(chosen.values[i], expected.values[i]) << i;
      }
    }
  }

  void CheckAllCuts(const std::vector<float>& v) {
    const auto size = static_cast<int64_t>(v.size());
    for (const std::vector<int64_t>& part_sizes : {std::vector<int64_t>{size},
                                                   {size / 2, size - size / 2},
                                                   {0, size / 5, 0, size - size / 5}}) {
      for (const int64_t k : {int64_t{1}, size / 60, size / 2, size}) {
        if (k >= 1) Check(v, part_sizes, k);
      }
    }
  }
};
TYPED_TEST_SUITE(TopKShareTest, Backends);

constexpr int64_t kSizes[] = {1, 2, 31, 32, 33, 127, 2047, 2048, 2049, 70'003};

TYPED_TEST(TopKShareTest, NormalValues) {
  for (const int64_t size : kSizes) this->CheckAllCuts(RandomNormal(size, 1));
}

TYPED_TEST(TopKShareTest, ManyElements) {
  this->Check(RandomNormal(1'000'007, 2), {400'001, 600'006}, 100'003);
}

TYPED_TEST(TopKShareTest, TiesGoToTheLowerIndex) {
  for (const int64_t size : {33, 2049, 20'011}) {
    auto v = RandomNormal(size, 3);
    for (float& value : v) value = std::round(value);  // few magnitudes, zeros of both signs
    this->CheckAllCuts(v);
    this->CheckAllCuts(std::vector<float>(v.size(), -2.5f));
    this->CheckAllCuts(std::vector<float>(v.size()));
  }
}

TYPED_TEST(TopKShareTest, NeighboursInTheLastBitAreToldApart) {
  std::vector<float> v(20'011);
  for (size_t i = 0; i < v.size(); ++i) {
    const uint32_t bits = 0x3F800000u + static_cast<uint32_t>(i * 7919 % v.size());
    std::memcpy(&v[i], &bits, sizeof(bits));
    if (i % 3 == 0) v[i] = -v[i];
  }
  this->CheckAllCuts(v);
}

TYPED_TEST(TopKShareTest, NaNComesFirstThenInfinity) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  auto v = RandomNormal(3001, 4);
  v[7] = kInfinity;
  v[1700] = kNaN;
  v[2000] = -kInfinity;
  v[3000] = -kNaN;
  for (const int64_t k : {1, 2, 3, 4, 5, 50}) this->Check(v, {1500, 1501}, k);
}

}  // namespace
}  // namespace thinwire
