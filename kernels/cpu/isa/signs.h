// Signs of vectors as bits, and bits as signed scales; and what an element adds to a sum.
#pragma once

#include "kernels/cpu/isa/vector.h"
#include "kernels/sum_tree.h"

namespace thinwire::cpu::THINWIRE_ISA {

/// The lanes of V, 1 for a float or double.
template <typename V>
constexpr int kLanesOf = sizeof(V) / sizeof(ElementOf<V>);

/// Bit `lane`: value[lane] >= 0, so 1 for both zeros and 0 for NaN.
inline uint32_t SignBits(float value) { return value >= 0; }
inline uint32_t SignBits(double value) { return value >= 0; }
#if defined(THINWIRE_ISA_avx512)
inline uint32_t SignBits(Floats value) { return _mm512_cmp_ps_mask(value, Floats{}, _CMP_GE_OQ); }
inline uint32_t SignBits(Doubles value) { return _mm512_cmp_pd_mask(value, Doubles{}, _CMP_GE_OQ); }
#elif defined(THINWIRE_ISA_avx2)
inline uint32_t SignBits(Floats value) {
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)(value >= Floats{})));
}
inline uint32_t SignBits(Doubles value) {
  return static_cast<uint32_t>(_mm256_movemask_pd((__m256d)(value >= Doubles{})));
}
#elif defined(__SSE2__)
inline uint32_t SignBits(Floats value) {
  return static_cast<uint32_t>(_mm_movemask_ps((__m128)(value >= Floats{})));
}
inline uint32_t SignBits(Doubles value) {
  return static_cast<uint32_t>(_mm_movemask_pd((__m128d)(value >= Doubles{})));
}
#else
template <typename V>
inline uint32_t SignBits(V value) {
  uint32_t bits = 0;
  for (int lane = 0; lane < kLanesOf<V>; ++lane) bits |= SignBits(value[lane]) << lane;
  return bits;
}
#endif

/// -negative in the lanes whose bit of `word`, counted from `offset` on, is set, `negative` in the
/// others.
template <typename V>
inline V NegatedWhereSet(uint32_t word, int offset, V negative) {
  using T = ElementOf<V>;
  if constexpr (kLanesOf<V> == 1) {
    return (word >> offset & 1) != 0 ? -negative : negative;
  } else {
    // Moves each lane's bit to where its sign is.
    using Integers = IntegersOf<T>;
    Integers places{};
    for (int lane = 0; lane < kLanesOf<V>; ++lane) places[lane] = 8 * sizeof(T) - 1 - lane;
    const Integers words = Integers{} + static_cast<IntegerOf<T>>(word);
    const Integers signs = (Integers)(T{-0.0f} - V{});
    return (V)((Integers)negative ^ ((words << (places - offset)) & signs));
  }
}

/// `scale` in the lanes whose bit of `word`, counted from `offset` on, is set, -scale in the
/// others.
template <typename V>
inline V SignedScale(uint32_t word, int offset, ElementOf<V> scale) {
  return NegatedWhereSet<V>(word, offset, -scale - V{});
}

inline float Magnitude(float value) { return __builtin_fabsf(value); }
inline double Magnitude(double value) { return __builtin_fabs(value); }
template <typename V>
inline V Magnitude(V value) {
  using Integers = IntegersOf<ElementOf<V>>;
  const Integers signs = (Integers)(ElementOf<V>{-0.0f} - V{});
  return (V)((Integers)value & ~signs);
}

/// Half `half` of the lanes as float64.
inline Doubles Widen(Floats value, int half) {
#if defined(THINWIRE_ISA_avx512)
  const __m512d pairs = (__m512d)value;
  return _mm512_maskz_cvtps_pd(0xFF,
                               (__m256)(half == 0 ? _mm512_maskz_extractf64x4_pd(0xF, pairs, 0)
                                                  : _mm512_maskz_extractf64x4_pd(0xF, pairs, 1)));
#elif defined(THINWIRE_ISA_avx2)
  return _mm256_cvtps_pd(half == 0 ? _mm256_castps256_ps128(value)
                                   : _mm256_extractf128_ps(value, 1));
#elif defined(__SSE2__)
  return _mm_cvtps_pd(half == 0 ? (__m128)value : _mm_movehl_ps(value, value));
#else
  Doubles wide{};
  for (int i = 0; i < kLanes / 2; ++i) wide[i] = value[half * kLanes / 2 + i];
  return wide;
#endif
}

/// Sums |v|, or v² with kSquares, over the words of a piece, its rows, in the order of
/// kernels/sum_tree.h, whatever the registers. So every instruction set gives the same bits, but
/// for squares in float64, which some round once with the sum.
template <bool kSquares>
class WordSums {
 public:
  /// Adds the elements from `offset` on of the present word; each word from front to back.
  void Add(int offset, Floats value) {
    const Floats part = kSquares ? value : Magnitude(value);
    AddWide(offset, Widen(part, 0));
    AddWide(offset + kLanes / 2, Widen(part, 1));
  }
  void Add(int offset, Doubles value) { AddWide(offset, kSquares ? value : Magnitude(value)); }
  void FinishWord() {
    Doubles* sums = sums_[words_++ % sum_tree::kGroups];
    for (int part = 0; part < kParts; ++part) {
      sums[part] += (word_[0][part] + word_[1][part]) + (word_[2][part] + word_[3][part]);
    }
  }

  template <typename T>
  static double Of(T value) {
    return kSquares ? static_cast<double>(value) * value : Magnitude(static_cast<double>(value));
  }

  double Total() const {
    double total = 0;
    for (int part = 0; part < kParts; ++part) {
      const Doubles sum = (sums_[0][part] + sums_[1][part]) + (sums_[2][part] + sums_[3][part]);
      for (int lane = 0; lane < kDoubles; ++lane) total += sum[lane];
    }
    return total;
  }

 private:
  static constexpr int kDoubles = kLanes / 2, kParts = 8 / kDoubles;

  void AddWide(int offset, Doubles part) {
    word_[offset / 8][offset % 8 / kDoubles] = kSquares ? part * part : part;
  }

  static_assert(sum_tree::kGroups == 4);
  Doubles sums_[sum_tree::kGroups][kParts] = {};
  uint32_t words_ = 0;
  Doubles word_[4][kParts];
};

}  // namespace thinwire::cpu::THINWIRE_ISA
