// Sums and searches over flat memory.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {

double SumOfSquares(const float* x, int64_t count) {
  // Sixteen lanes whatever the registers: squares of floats are exact in float64, so every
  // instruction set gives the same sum.
  typedef float Floats8 __attribute__((vector_size(32)));
  typedef double Doubles8 __attribute__((vector_size(64)));
  Doubles8 low{}, high{};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    Floats8 a, b;
    __builtin_memcpy(&a, x + i, sizeof(a));
    __builtin_memcpy(&b, x + i + 8, sizeof(b));
    const Doubles8 c = __builtin_convertvector(a, Doubles8);
    const Doubles8 d = __builtin_convertvector(b, Doubles8);
    low += c * c;
    high += d * d;
  }
  low += high;
  double sum = 0;
  for (int lane = 0; lane < 8; ++lane) sum += low[lane];
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
