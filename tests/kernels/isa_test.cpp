// Every instruction set that this machine runs gives the portable kernels' results, and streamed
// stores give the same as plain ones.
#include "kernels/cpu/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/device_test.h"

namespace thinwire::cpu {
namespace {

/// Floats that start at a multiple of 64 bytes.
class Aligned {
 public:
  explicit Aligned(const std::vector<float>& values) : values_(values.size() + 32, -77.0f) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(values_.data());
    data_ = values_.data() + (64 - address % 64) % 64 / sizeof(float);
    std::copy(values.begin(), values.end(), data_);
    size_ = values.size();
  }
  explicit Aligned(size_t size) : Aligned(std::vector<float>(size)) {}
  Aligned(const Aligned&) = delete;
  float* data() { return data_; }
  std::vector<float> Read() const {
    EXPECT_EQ(data_[size_], -77.0f) << "overwritten past the end";
    return {data_, data_ + size_};
  }

 private:
  std::vector<float> values_;
  float* data_;
  size_t size_;
};

const IsaKernels& Portable() {
  const IsaKernels* const* isa = AvailableIsa();
  while (isa[1] != nullptr) ++isa;
  return **isa;
}

template <typename Function>
void ForEachIsa(const Function& function) {
  for (const IsaKernels* const* isa = AvailableIsa(); *isa != nullptr; ++isa) {
    for (const bool stream : {false, true}) {
      SCOPED_TRACE(::testing::Message() << (*isa)->name << ", stream " << stream);
      function(**isa, stream);
    }
  }
}

constexpr int64_t kSizes[] = {0, 1, 31, 32, 33, 127, 1027};

TEST(Isa, PortableIsAlwaysThere) { EXPECT_STREQ(Portable().name, "portable"); }

TEST(Isa, ElementwisePassesAreExact) {
  for (const int64_t size : kSizes) {
    Aligned a(RandomNormal(size, 1)), b(RandomNormal(size, 2));
    const size_t n = static_cast<size_t>(size);
    auto passes = [&](const IsaKernels& isa, bool stream) {
      std::vector<std::vector<float>> results;
      Aligned y(n);
      isa.copy(a.data(), y.data(), size, stream);
      results.push_back(y.Read());
      isa.float32.add(a.data(), b.data(), false, y.data(), size, stream);
      results.push_back(y.Read());
      isa.float32.add(a.data(), b.data(), true, y.data(), size, stream);
      results.push_back(y.Read());
      isa.relu(a.data(), y.data(), size, stream);
      results.push_back(y.Read());
      isa.relu_backward(a.data(), b.data(), y.data(), size, stream);
      results.push_back(y.Read());
      isa.float32.scale(a.data(), 0.3f, y.data(), size, stream);
      results.push_back(y.Read());
      isa.dropout(a.data(), 0.3f, 1, 2, 4, y.data(), size);
      results.push_back(y.Read());
      return results;
    };
    const auto expected = passes(Portable(), false);
    ForEachIsa(
        [&](const IsaKernels& isa, bool stream) { EXPECT_EQ(passes(isa, stream), expected); });
  }
}

TEST(Isa, SumsOfSquaresAreTheSame) {
  for (const int64_t size : kSizes) {
    Aligned x(RandomNormal(size, 1));
    ForEachIsa([&](const IsaKernels& isa, bool) {
      EXPECT_EQ(isa.float32.sum_of_squares(x.data(), size),
                Portable().float32.sum_of_squares(x.data(), size));
    });
  }
}

/// Multiples of 1/4 below 8: sums and products of a few of them are exact, so instruction sets
/// with and without fused multiply-adds must agree to the bit.
std::vector<float> Quarters(int64_t size, uint64_t seed) {
  std::vector<float> values = RandomNormal(size, seed);
  for (float& value : values) value = std::round(value * 4) / 4;
  return values;
}

TEST(Isa, BatchNormPassesAreExact) {
  for (const int64_t rows : {1, 3, 4, 69}) {
    for (const int64_t width : {16, 48, 256, 2064}) {
      const int64_t size = rows * width;
      const size_t n = static_cast<size_t>(size), w = static_cast<size_t>(width);
      Aligned x(Quarters(size, 1)), residual(Quarters(size, 2)), gradient(Quarters(size, 3)),
          gradient2(Quarters(size, 4)), addend(Quarters(size, 5));
      Aligned mean(Quarters(width, 6)), factor(Quarters(width, 7)), shift(Quarters(width, 8)),
          offset(Quarters(width, 9)), slope(Quarters(width, 10));
      for (int flags = 0; flags < 16; ++flags) {
        auto passes = [&](const IsaKernels& isa, bool stream) {
          Aligned y(n), masked(n), x_gradient(n);
          std::vector<double> sums(4 * w);
          isa.moments(x.data(), rows, width, mean.data(), sums.data(), sums.data() + w);
          NormaliseArguments normalise{};
          normalise.x = x.data();
          normalise.residual = flags & 1 ? residual.data() : nullptr;
          normalise.y = y.data();
          normalise.mean = mean.data();
          normalise.factor = factor.data();
          normalise.shift = shift.data();
          normalise.rows = rows;
          normalise.width = width;
          normalise.relu = (flags & 2) != 0;
          normalise.stream = stream;
          isa.normalise(normalise);
          ReduceArguments reduce{};
          reduce.in.gradient = gradient.data();
          reduce.in.gradient2 = flags & 4 ? gradient2.data() : nullptr;
          reduce.in.y = flags & 1 ? residual.data() : nullptr;  // any signs will do
          reduce.in.mask_from_x = (flags & 3) == 2;
          reduce.in.x = x.data();
          reduce.in.mean = mean.data();
          reduce.in.factor = factor.data();
          reduce.in.shift = shift.data();
          reduce.in.rows = rows;
          reduce.in.width = width;
          reduce.masked_gradient = masked.data();
          reduce.sum_g = sums.data() + 2 * w;
          reduce.sum_g_x = sums.data() + 3 * w;
          isa.backward_reduce(reduce);
          ApplyArguments apply{};
          apply.in = reduce.in;
          apply.addend = flags & 8 ? addend.data() : nullptr;
          apply.offset = offset.data();
          apply.slope = slope.data();
          apply.x_gradient = x_gradient.data();
          apply.stream = stream;
          isa.backward_apply(apply);
          std::vector<std::vector<float>> results = {y.Read(), masked.Read(), x_gradient.Read()};
          results.emplace_back(sums.begin(), sums.end());
          return results;
        };
        const auto expected = passes(Portable(), false);
        ForEachIsa(
            [&](const IsaKernels& isa, bool stream) { EXPECT_EQ(passes(isa, stream), expected); });
      }
    }
  }
}

// The backward pass forms its mask anew: it must be the sign that the forward pass wrote, also
// where the value is a rounding error away from zero.
TEST(Isa, TheMaskFromXIsTheForwardPassesSign) {
  constexpr int64_t rows = 37, width = 83;
  Aligned x(RandomNormal(rows * width, 1)), mean(RandomNormal(width, 2)),
      factor(RandomNormal(width, 3)), shift(RandomNormal(width, 4));
  for (int64_t i = 0; i < rows * width; ++i) {
    const int64_t c = i % width;
    if (i % 3 != 0) x.data()[i] = mean.data()[c] - shift.data()[c] / factor.data()[c];
  }
  Aligned ones(std::vector<float>(rows * width, 1.0f));
  ForEachIsa([&](const IsaKernels& isa, bool) {
    Aligned y(rows * width), masked(rows * width);
    std::vector<double> sums(2 * width);
    NormaliseArguments normalise{};
    normalise.x = x.data();
    normalise.y = y.data();
    normalise.mean = mean.data();
    normalise.factor = factor.data();
    normalise.shift = shift.data();
    normalise.rows = rows;
    normalise.width = width;
    normalise.relu = true;
    isa.normalise(normalise);
    ReduceArguments reduce{};
    reduce.in.gradient = ones.data();
    reduce.in.mask_from_x = true;
    reduce.in.x = x.data();
    reduce.in.mean = mean.data();
    reduce.in.factor = factor.data();
    reduce.in.shift = shift.data();
    reduce.in.rows = rows;
    reduce.in.width = width;
    reduce.masked_gradient = masked.data();
    reduce.sum_g = sums.data();
    reduce.sum_g_x = sums.data() + width;
    isa.backward_reduce(reduce);
    const auto values = y.Read(), mask = masked.Read();
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i] > 0, mask[i] == 1) << i;
  });
}

// Sums of magnitudes too: what they add up has the same order everywhere.
TEST(Isa, PassesOfTheScaledSignAreExact) {
  constexpr int64_t size = 32 * 37;
  constexpr std::pair<int64_t, int64_t> ranges[] = {{0, size}, {96, size - 64}, {32, 64},
                                                    {5, 32},   {64, 65},        {70, 95}};
  constexpr int64_t most_messages = 11;
  // Values of full precision, which no product with a factor can change.
  Aligned values(RandomNormal(size, 1)), target(RandomNormal(size, 3));
  const std::vector<float> start = RandomNormal(size, 4);
  std::vector<std::vector<float>> scales;
  std::vector<std::vector<uint32_t>> messages;
  std::vector<const uint32_t*> words;
  std::vector<const float*> message_scales;
  for (uint32_t m = 0; m < most_messages; ++m) {
    RandomStream random(7, m);
    std::vector<uint32_t> bits(size / 32);
    for (uint32_t& word : bits) word = random.Next();
    messages.push_back(bits);
    scales.push_back({0.3f + 0.11f * static_cast<float>(m), 0.7f - 0.07f * static_cast<float>(m)});
  }
  for (const auto& message : messages) words.push_back(message.data());
  for (const auto& two : scales) message_scales.push_back(two.data());
  for (const auto& [begin, end] : ranges) {
    for (const bool squares : {false, true}) {
      auto passes = [&](const IsaKernels& isa, bool stream) {
        std::vector<std::vector<double>> results;
        const auto& kernels = isa.float32;
        const std::pair<decltype(kernels.pack), int> passes_of_counts[] = {
            {kernels.pack, 0},
            {kernels.pack_difference, 0},
            {kernels.pack_sum, 0},
            {kernels.pack_mean_difference, 3},
            {kernels.pack_mean_difference, 5},
            {kernels.pack_mean_difference, 8},
            {kernels.pack_mean_sum, 7},
        };
        for (const auto& [pack, count] : passes_of_counts) {
          Aligned state(start);
          std::vector<uint32_t> bits(size / 32, 0xA5A5A5A5u);
          PackArguments<float> a;
          a.input = {.values = values.data(),
                     .parameters = target.data(),
                     .factor = 0.9f,
                     .gradient_scale = 0.3f,
                     .weight_decay = 0.25f,  // products that are exact, fused or not
                     .decayed_size = size / 2,
                     .added = target.data(),
                     .added_factor = -0.5f};
          a.messages = {words.data(), message_scales.data(), count, 1};
          a.pending = {words[0], 0.3f};
          a.settle = true;
          a.state = state.data();
          a.target = target.data();
          a.bits = bits.data();
          a.squares = squares;
          const double sum = pack(a, begin, end);
          const auto read = state.Read();
          results.emplace_back(read.begin(), read.end());
          results.emplace_back(bits.begin(), bits.end());
          results.push_back({sum});
        }
        Aligned y(start);
        for (int64_t count = 1; count <= most_messages; ++count) {
          kernels.mean_of_signs({words.data(), message_scales.data(), count, count % 2}, count > 1,
                                stream, y.data(), begin, end);
        }
        kernels.add_signs({words[1], 0.3f}, y.data(), begin, end);
        kernels.settle_error(0.3f, y.data(), begin, end);
        const auto read = y.Read();
        results.emplace_back(read.begin(), read.end());
        return results;
      };
      const auto expected = passes(Portable(), false);
      ForEachIsa(
          [&](const IsaKernels& isa, bool stream) { EXPECT_EQ(passes(isa, stream), expected); });
    }
  }
}

TEST(Isa, LargeElementsAreCollectedExactly) {
  constexpr int64_t size = 2 * 4096 + 1027;
  Aligned x(RandomNormal(size, 1)), state(RandomNormal(size, 2));
  for (const float threshold : {0.0f, 0.5f, 2.0f, 9.0f}) {
    auto found = [&](const IsaKernels& isa) {
      int32_t key;
      std::memcpy(&key, &threshold, sizeof(key));
      CollectArguments<float> a{};
      a.input = {.values = x.data(),
                 .parameters = nullptr,
                 .factor = 1,
                 .gradient_scale = 1,
                 .weight_decay = 0,
                 .decayed_size = 0};
      a.state = state.data();
      a.state_factor = -1;
      std::vector<int32_t> indices(size + 16);
      std::vector<float> values(size + 16);
      const int64_t count =
          isa.float32.collect_large(a, key, 3, size, indices.data(), values.data());
      indices.resize(static_cast<size_t>(count));
      values.resize(static_cast<size_t>(count));
      return std::make_pair(indices, values);
    };
    std::pair<std::vector<int32_t>, std::vector<float>> expected;
    for (int32_t i = 3; i < size; ++i) {
      const float v = x.data()[i] - state.data()[i];
      if (std::abs(v) < threshold) continue;
      expected.first.push_back(i);
      expected.second.push_back(v);
    }
    ForEachIsa([&](const IsaKernels& isa, bool) { EXPECT_EQ(found(isa), expected); });
  }
}

/// A plain sum in 64 bits, rounded to a byte.
uint8_t WeightedSum(const int32_t* weights, int64_t taps, const uint8_t* values, int64_t step) {
  int64_t sum = int64_t{1} << (kResampleBits - 1);
  for (int64_t tap = 0; tap < taps; ++tap) sum += int64_t{weights[tap]} * values[tap * step];
  return static_cast<uint8_t>(std::min<int64_t>(sum >> kResampleBits, 255));
}

TEST(Isa, ResampledBytesAreExactAndStayInTheirRow) {
  RandomStream random(3, 0);
  const auto below = [&](int64_t bound) {
    return int64_t{random.Below(static_cast<uint32_t>(bound))};
  };
  for (int round = 0; round < 150; ++round) {
    const int64_t taps = 1 + below(round % 3 == 0 ? 3 : 20), stride = (taps + 3) / 4 * 4;
    const int64_t inputs = taps + below(40), outputs = 1 + below(50);
    std::vector<uint8_t> row(static_cast<size_t>(inputs * 3));  // sanitizers see a read behind it
    for (uint8_t& value : row) value = static_cast<uint8_t>(below(4) == 0 ? 255 : below(256));
    std::vector<int32_t> starts, weights(static_cast<size_t>(outputs * stride));
    for (int64_t i = 0; i < outputs; ++i) {
      starts.push_back(static_cast<int32_t>(below(inputs - taps + 1)));
      int64_t left = 1 << kResampleBits;
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t weight = tap + 1 == taps ? left : below(left + 1);
        weights[static_cast<size_t>(i * stride + tap)] = static_cast<int32_t>(weight);
        left -= weight;
      }
    }
    for (const IsaKernels* const* isa = AvailableIsa(); *isa != nullptr; ++isa) {
      SCOPED_TRACE((*isa)->name);
      std::vector<uint8_t> output(static_cast<size_t>(outputs * 3 + 8), 0xA5);
      (*isa)->resample_row({starts.data(), weights.data(), outputs, taps, stride}, row.data(),
                           std::ssize(row), output.data());
      for (int64_t i = 0; i < outputs * 3; ++i) {
        const int64_t from = starts[static_cast<size_t>(i / 3)] * 3 + i % 3;
        ASSERT_EQ(output[static_cast<size_t>(i)],
                  WeightedSum(weights.data() + i / 3 * stride, taps, row.data() + from, 3));
      }
      for (size_t i = output.size() - 8; i < output.size(); ++i) ASSERT_EQ(output[i], 0xA5);
    }
  }
}

TEST(Isa, MixedRowsAreExact) {
  RandomStream random(4, 0);
  for (const int64_t size : {0, 1, 3, 15, 16, 17, 63, 64, 65, 127, 672, 1027}) {
    for (const int64_t taps : {1, 2, 3, 7}) {
      std::vector<std::vector<uint8_t>> rows(static_cast<size_t>(taps));
      std::vector<const uint8_t*> pointers;
      std::vector<int32_t> weights(static_cast<size_t>(taps), (1 << kResampleBits) / taps + 1);
      for (auto& row : rows) {
        for (int64_t i = 0; i < size; ++i) row.push_back(static_cast<uint8_t>(random.Next() >> 24));
        pointers.push_back(row.data());
      }
      for (const IsaKernels* const* isa = AvailableIsa(); *isa != nullptr; ++isa) {
        SCOPED_TRACE(::testing::Message() << (*isa)->name << ", " << size << " x " << taps);
        std::vector<uint8_t> output(static_cast<size_t>(size + 1), 0xA5);
        (*isa)->mix_rows(weights.data(), taps, pointers.data(), size, output.data());
        for (size_t i = 0; i + 1 < output.size(); ++i) {
          std::vector<uint8_t> column;
          for (const auto& row : rows) column.push_back(row[i]);
          ASSERT_EQ(output[i], WeightedSum(weights.data(), taps, column.data(), 1));
        }
        EXPECT_EQ(output.back(), 0xA5);
      }
    }
  }
}

}  // namespace
}  // namespace thinwire::cpu
