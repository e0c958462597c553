// Counter-based random numbers: each is a pure function of (seed, stream, index), so any thread
// can make any of them in any order. Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As
// Easy as 1, 2, 3", SC 2011).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace thinwire {

/// Four independent 32-bit words for one (seed, stream, index).
constexpr std::array<uint32_t, 4> Philox(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

/// A sequential reader of one stream.
class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint32_t Next() {
    if (used_ == 4) {
      words_ = Philox(seed_, stream_, index_++);
      used_ = 0;
    }
    return words_[used_++];
  }
  /// Uniform in [0, 1), 24 bits.
  float Uniform() { return static_cast<float>(Next() >> 8) * 0x1p-24f; }
  /// Uniform in {0, …, bound - 1}, by Lemire's multiplication (bias below 2^-32 * bound).
  uint32_t Below(uint32_t bound) {
    return static_cast<uint32_t>((uint64_t{Next()} * bound) >> 32);
  }
  /// Standard normal, by Box-Muller in float64.
  double Normal() {
    const double u = (static_cast<double>(Next()) + 0.5) * 0x1p-32;
    const double angle = static_cast<double>(Next()) * 0x1p-32 * 2 * std::numbers::pi;
    return std::sqrt(-2 * std::log(u)) * std::cos(angle);
  }

 private:
  uint64_t seed_, stream_, index_ = 0;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

}  // namespace thinwire
