// What Top-K's indices cost: bits an index and time, of the product's Rice codes and of what else
// could code rising numbers. Elias-Fano: the low bits of each index as they are, the number of
// indices under each value of the high bits in unary. Bit packing: blocks of 128 gaps, each as wide
// as its largest.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/random.h"
#include "optim/bit_stream.h"
#include "optim/gap_coding.h"
#include "optim/random_choice.h"

namespace thinwire {
namespace {

using Bytes = std::vector<std::byte>;
using Indices = std::vector<int32_t>;

constexpr int64_t kSize = 11'173'962;  // parameters of ResNet-18 for CIFAR
constexpr Range kRange{0, kSize};
constexpr size_t kBlock = 128;

struct Plain {
  static void Encode(const Indices& indices, Bytes& bytes) {
    bytes.resize(4 * indices.size());
    std::memcpy(bytes.data(), indices.data(), bytes.size());
  }
  static void Decode(const Bytes& bytes, Indices& indices) {
    std::memcpy(indices.data(), bytes.data(), bytes.size());
  }
};

struct Rice {
  static void Encode(const Indices& indices, Bytes& bytes) { EncodeGaps(indices, kRange, bytes); }
  static void Decode(const Bytes& bytes, Indices& indices) {
    if (DecodeGaps(bytes, kRange, indices) != GapFault::kNone) std::abort();
  }
};

struct EliasFano {
  static int LowBits(const Indices& indices) {
    return std::bit_width(static_cast<uint64_t>(kSize) / indices.size()) - 1;
  }
  static void Encode(const Indices& indices, Bytes& bytes) {
    const int low_bits = LowBits(indices);
    const auto count = std::ssize(indices);
    BitWriter writer(bytes);
    writer.Reserve(count * (low_bits + 1) + (kSize >> low_bits) + 8);
    for (const int32_t index : indices) writer.Write(index & ((1 << low_bits) - 1), low_bits);
    writer.WriteZeros(-count * low_bits & 7);
    int32_t high = 0;
    for (const int32_t index : indices) {
      const int32_t zeros = (index >> low_bits) - std::exchange(high, index >> low_bits);
      writer.WriteZeros(zeros);
      writer.Write(1, 1);
    }
    writer.Finish();
  }
  static void Decode(const Bytes& bytes, Indices& indices) {
    const int low_bits = LowBits(indices);
    BitReader lows(bytes);
    BitReader highs(std::span<const std::byte>(bytes).subspan((indices.size() * low_bits + 7) / 8));
    int32_t high = 0;
    for (int32_t& index : indices) {
      uint64_t word;
      for (; (word = highs.Peek()) == 0; highs.Skip(57)) high += 57;
      high += std::countr_zero(word);
      highs.Skip(std::countr_zero(word) + 1);
      index = high << low_bits | static_cast<int32_t>(lows.Read(low_bits));
    }
  }
};

struct BitPacking {
  static void Encode(const Indices& indices, Bytes& bytes) {
    BitWriter writer(bytes);
    int32_t next = 0;
    for (size_t first = 0; first < indices.size(); first += kBlock) {
      const auto block = std::span(indices).subspan(first, Count(indices, first));
      uint32_t all = 0;
      for (int32_t before = next; const int32_t index : block) {
        all |= static_cast<uint32_t>(index - std::exchange(before, index + 1));
      }
      const int width = static_cast<int>(std::bit_width(all));
      writer.Reserve(6 + std::ssize(block) * width);
      writer.Write(static_cast<uint64_t>(width), 6);
      for (const int32_t index : block) {
        writer.Write(static_cast<uint64_t>(index - std::exchange(next, index + 1)), width);
      }
    }
    writer.Finish();
  }
  static void Decode(const Bytes& bytes, Indices& indices) {
    BitReader reader(bytes);
    int32_t next = 0;
    for (size_t first = 0; first < indices.size(); first += kBlock) {
      const int width = static_cast<int>(reader.Read(6));
      for (int32_t& index : std::span(indices).subspan(first, Count(indices, first))) {
        index = next + static_cast<int32_t>(reader.Read(width));
        next = index + 1;
      }
    }
  }
  static size_t Count(const Indices& indices, size_t first) {
    return std::min(kBlock, indices.size() - first);
  }
};

/// `ratio` of the elements: spread evenly, or `clustered`: stretches of 16,384 elements, as small
/// tensors are, differ in density by up to 2^8, evenly in the logarithm.
Indices MakeIndices(double ratio, bool clustered) {
  if (!clustered) {
    Indices indices;
    ChooseRandomly(std::vector{kRange}, static_cast<int64_t>(ratio * kSize), {}, indices);
    return indices;
  }
  constexpr int64_t kStretch = 16'384;
  std::vector<double> density(kSize / kStretch);
  double sum = 0;
  RandomStream random(1, 0);
  for (double& d : density) sum += d = std::exp2(-8 * random.Uniform());
  Indices indices, part;
  for (int64_t i = 0; i < std::ssize(density); ++i) {
    const double share = density[static_cast<size_t>(i)] / sum * ratio * kSize;
    ChooseRandomly(std::vector{Range{i * kStretch, (i + 1) * kStretch}},
                   std::min(kStretch, static_cast<int64_t>(share)), {.step = i}, part);
    indices.insert(indices.end(), part.begin(), part.end());
  }
  return indices;
}

/// log2 of the number of subsets, an element of the subset.
double UniformEntropy(double count) {
  const auto log2_factorial = [](double n) { return std::lgamma(n + 1) / std::log(2.0); };
  return (log2_factorial(kSize) - log2_factorial(count) - log2_factorial(kSize - count)) / count;
}

template <typename Coding>
void EncodeAll(benchmark::State& state, const Indices& indices) {
  Bytes bytes;
  for (auto _ : state) {
    bytes.clear();
    Coding::Encode(indices, bytes);
    benchmark::ClobberMemory();
  }
  const auto count = static_cast<double>(indices.size());
  state.SetItemsProcessed(state.iterations() * std::ssize(indices));
  state.counters["bits"] = 8 * static_cast<double>(bytes.size()) / count;
  state.counters["uniform_entropy"] = UniformEntropy(count);
}

template <typename Coding>
void DecodeAll(benchmark::State& state, const Indices& indices) {
  Bytes bytes;
  Coding::Encode(indices, bytes);
  Indices decoded(indices.size());
  for (auto _ : state) {
    Coding::Decode(bytes, decoded);
    benchmark::ClobberMemory();
  }
  if (decoded != indices) state.SkipWithError("decoded something else");
  state.SetItemsProcessed(state.iterations() * std::ssize(indices));
}

template <typename Coding>
void Register(const std::string& coding) {
  const auto add = [&](const std::string& kind, double ratio, bool clustered) {
    const Indices indices = MakeIndices(ratio, clustered);
    const std::string what = coding + "/" + kind;
    const auto encode = [indices](benchmark::State& state) { EncodeAll<Coding>(state, indices); };
    const auto decode = [indices](benchmark::State& state) { DecodeAll<Coding>(state, indices); };
    benchmark::RegisterBenchmark((what + "/encode").c_str(), encode);
    benchmark::RegisterBenchmark((what + "/decode").c_str(), decode);
  };
  add("uniform 0.25", 0.25, false);
  add("uniform 0.016", 0.016, false);
  add("uniform 0.001", 0.001, false);
  add("clustered 0.016", 0.016, true);
}

/// Rand-K's choice of as many.
void BM_ChooseRandomly(benchmark::State& state) {
  const std::vector<Range> ranges{kRange};
  Indices indices;
  for (auto _ : state) ChooseRandomly(ranges, kSize * 16 / 1000, {}, indices);
  state.SetItemsProcessed(state.iterations() * std::ssize(indices));
}
BENCHMARK(BM_ChooseRandomly);

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  thinwire::Register<thinwire::Plain>("plain");
  thinwire::Register<thinwire::Rice>("Rice");
  thinwire::Register<thinwire::EliasFano>("Elias-Fano");
  thinwire::Register<thinwire::BitPacking>("bit packing");
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
