// Sums of flat vectors, element by element.
#include "kernels/cpu/isa/input.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {

template <typename T>
void Evaluate(const InputArguments<T>& arguments, T beta, T* y, int64_t begin, int64_t end) {
  const InputArguments<T> input = arguments;
  ForEach<T>(end - begin, [&]<typename V>(int64_t offset) {
    const int64_t i = begin + offset;
    V value = InputAt<V>(input, i);
    if (beta != 0) value = MultiplyAdd(beta - V{}, Load<V>(y + i), value);
    Store<V>(y + i, value);
  });
}

template <typename T>
void SumParts(const T* parts, int64_t size, int64_t part_size, double factor, T* sum, int64_t begin,
              int64_t end) {
  typedef T Values8 __attribute__((vector_size(8 * sizeof(T))));
  typedef double Doubles8 __attribute__((vector_size(64)));
  int64_t i = begin;
  for (; i + 8 <= end; i += 8) {
    Doubles8 total{};
    for (int64_t j = i; j < size; j += part_size) {
      Values8 values;
      __builtin_memcpy(&values, parts + j, sizeof(values));
      total += __builtin_convertvector(values, Doubles8);
    }
    const Values8 rounded = __builtin_convertvector(factor * total, Values8);
    __builtin_memcpy(sum + i, &rounded, sizeof(rounded));
  }
  for (; i < end; ++i) {
    double total = 0;
    for (int64_t j = i; j < size; j += part_size) total += static_cast<double>(parts[j]);
    sum[i] = static_cast<T>(factor * total);
  }
}

#define THINWIRE_INSTANTIATE(T)                                              \
  template void Evaluate(const InputArguments<T>&, T, T*, int64_t, int64_t); \
  template void SumParts(const T*, int64_t, int64_t, double, T*, int64_t, int64_t);
THINWIRE_INSTANTIATE(float)
THINWIRE_INSTANTIATE(double)
#undef THINWIRE_INSTANTIATE

}  // namespace thinwire::cpu::THINWIRE_ISA
