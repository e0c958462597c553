// Every instruction set that this machine runs gives the portable kernels' results, and streamed
// stores give the same as plain ones.
#include "kernels/cpu/isa.h"

#include <gtest/gtest.h>

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
      EXPECT_EQ(isa.float32.sum_of_squares(x.data(), size), Portable().float32.sum_of_squares(x.data(), size));
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

}  // namespace
}  // namespace thinwire::cpu
