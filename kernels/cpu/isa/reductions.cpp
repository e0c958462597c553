// Sums and searches over flat memory.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {

double SumOfSquares(const float* x, int64_t count) {
  // The same 32 sums whatever the registers: squares of floats are exact in float64, so every
  // instruction set gives the same total.
  typedef float Floats8 __attribute__((vector_size(32)));
  typedef double Doubles8 __attribute__((vector_size(64)));
  Doubles8 sums[4] = {};
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    for (int j = 0; j < 4; ++j) {
      Floats8 floats;
      __builtin_memcpy(&floats, x + i + 8 * j, sizeof(floats));
      const Doubles8 doubles = __builtin_convertvector(floats, Doubles8);
      sums[j] += doubles * doubles;
    }
  }
  const Doubles8 total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = 0;
  for (int lane = 0; lane < 8; ++lane) sum += total[lane];
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

int64_t FirstNonFinite(const float* x, int64_t count) {
  constexpr int32_t exponent = 0x7F800000;
  constexpr int64_t kBlock = 1024;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = begin + kBlock < count ? begin + kBlock : count;
    Ints found{};
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      Ints bits;
      __builtin_memcpy(&bits, x + i, sizeof(bits));
      found |= (bits & exponent) == exponent;
    }
    int32_t any = i < end;  // a tail is looked at one by one
    for (int lane = 0; lane < kLanes; ++lane) any |= found[lane];
    if (any == 0) continue;
    for (i = begin; i < end; ++i) {
      int32_t bits;
      __builtin_memcpy(&bits, x + i, sizeof(bits));
      if ((bits & exponent) == exponent) return i;
    }
  }
  return -1;
}

}  // namespace thinwire::cpu::THINWIRE_ISA
