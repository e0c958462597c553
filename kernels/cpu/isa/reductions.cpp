// Sums and searches over flat memory.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"
#include "kernels/sum_tree.h"

namespace thinwire::cpu::THINWIRE_ISA {

template <typename T>
double SumOfSquares(const T* x, int64_t count) {
  // The same sums whatever the registers: squares of floats are exact in float64, so every
  // instruction set gives the same total.
  typedef T Values8 __attribute__((vector_size(8 * sizeof(T))));
  typedef double Doubles8 __attribute__((vector_size(64)));
  const int64_t rows_end = count / sum_tree::kRow * sum_tree::kRow;
  double sum = 0;
  for (int64_t group = 0; group < sum_tree::kGroups; ++group) {
    Doubles8 sums[4] = {};
    for (int64_t i = group * sum_tree::kRow; i < rows_end; i += sum_tree::kGroups * sum_tree::kRow) {
      for (int j = 0; j < 4; ++j) {
        Values8 values;
        __builtin_memcpy(&values, x + i + 8 * j, sizeof(values));
        const Doubles8 doubles = __builtin_convertvector(values, Doubles8);
        sums[j] += doubles * doubles;
      }
    }
    const Doubles8 total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double group_sum = 0;
    for (int lane = 0; lane < 8; ++lane) group_sum += total[lane];
    sum += group_sum;
  }
  for (int64_t i = rows_end; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

template <typename T>
int64_t FirstNonFinite(const T* x, int64_t count) {
  using Integer = IntegerOf<T>;
  constexpr Integer exponent =
      sizeof(T) == 4 ? Integer{0x7F800000} : static_cast<Integer>(0x7FF0000000000000);
  constexpr int64_t kBlock = 1024;
  constexpr int lanes = sizeof(VectorOf<T>) / sizeof(T);
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = begin + kBlock < count ? begin + kBlock : count;
    IntegersOf<T> found{};
    int64_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      IntegersOf<T> bits;
      __builtin_memcpy(&bits, x + i, sizeof(bits));
      found |= (bits & exponent) == exponent;
    }
    Integer any = i < end;  // a tail is looked at one by one
    for (int lane = 0; lane < lanes; ++lane) any |= found[lane];
    if (any == 0) continue;
    for (i = begin; i < end; ++i) {
      Integer bits;
      __builtin_memcpy(&bits, x + i, sizeof(bits));
      if ((bits & exponent) == exponent) return i;
    }
  }
  return -1;
}

template double SumOfSquares(const float*, int64_t);
template double SumOfSquares(const double*, int64_t);
template int64_t FirstNonFinite(const float*, int64_t);
template int64_t FirstNonFinite(const double*, int64_t);

}  // namespace thinwire::cpu::THINWIRE_ISA
