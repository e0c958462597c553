// The search for large magnitudes, and what lies at given indices.
#include "kernels/cpu/isa/input.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

template <typename T>
inline IntegerOf<T> MagnitudeKey(T value) {
  IntegerOf<T> bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits & static_cast<IntegerOf<T>>(~(uint64_t{1} << (8 * sizeof(T) - 1)));
}

/// Where the found elements go; a whole vector may be written at `count`.
template <typename T>
struct Found {
  int32_t* indices;
  T* values;
  int64_t count = 0;

  void Append(int64_t i, T value, bool wanted) {
    indices[count] = static_cast<int32_t>(i);
    values[count] = value;
    count += wanted;
  }
};

/// Appends the lanes of `value`, elements from `i` on, whose key is at least `threshold`.
template <typename V, typename T = ElementOf<V>>
inline void AppendLanes(Found<T>& found, int64_t i, V value, IntegerOf<T> threshold) {
#if defined(THINWIRE_ISA_avx512) || defined(THINWIRE_ISA_avx2)
  if constexpr (sizeof(V) > sizeof(T) && sizeof(T) == 4) {
    Ints lanes{};
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane;
    const Ints indices = lanes + static_cast<int32_t>(i), keys = (Ints)value & 0x7FFFFFFF;
#if defined(THINWIRE_ISA_avx512)
    const __mmask16 wanted = _mm512_cmpge_epi32_mask((__m512i)keys, _mm512_set1_epi32(threshold));
    _mm512_storeu_si512(found.indices + found.count,
                        _mm512_maskz_compress_epi32(wanted, (__m512i)indices));
    _mm512_storeu_ps(found.values + found.count, _mm512_maskz_compress_ps(wanted, value));
    found.count += __builtin_popcount(wanted);
#else
    const uint32_t wanted =
        static_cast<uint32_t>(_mm256_movemask_ps((__m256)(keys > threshold - 1)));
    // The numbers of the wanted lanes, a byte each, moved to the front.
    const uint64_t bytes = _pdep_u64(wanted, 0x0101010101010101u) * 0xFF;
    const __m256i front = _mm256_cvtepu8_epi32(
        _mm_cvtsi64_si128(static_cast<int64_t>(_pext_u64(0x0706050403020100u, bytes))));
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(found.indices + found.count),
                        _mm256_permutevar8x32_epi32((__m256i)indices, front));
    _mm256_storeu_ps(found.values + found.count, _mm256_permutevar8x32_ps(value, front));
    found.count += __builtin_popcount(wanted);
#endif
    return;
  }
#endif
  if constexpr (sizeof(V) == sizeof(T)) {
    found.Append(i, value, MagnitudeKey(value) >= threshold);
  } else {
    for (int lane = 0; lane < static_cast<int>(sizeof(V) / sizeof(T)); ++lane) {
      const T element = value[lane];
      found.Append(i + lane, element, MagnitudeKey(element) >= threshold);
    }
  }
}

}  // namespace

namespace {

/// The elements of V from `i` on.
template <typename V>
inline V ValueAt(const CollectArguments<ElementOf<V>>& a, int64_t i) {
  V value = InputAt<V>(a.input, i);
  if (a.state != nullptr) value += a.state_factor * Load<V>(a.state + i);
  return value;
}

/// Bit `lane`: whether the key of that lane is at least `threshold`.
template <typename V, typename T = ElementOf<V>>
inline uint64_t LargeLanes(V value, IntegerOf<T> threshold) {
  const IntegersOf<T> keys =
      (IntegersOf<T>)value & static_cast<IntegerOf<T>>(~(uint64_t{1} << (8 * sizeof(T) - 1)));
  const V large = (V)(keys >= threshold);
#if defined(THINWIRE_ISA_avx2)
  if constexpr (sizeof(T) == 4) {
    return static_cast<uint32_t>(_mm256_movemask_ps((__m256)large));
  } else {
    return static_cast<uint32_t>(_mm256_movemask_pd((__m256d)large));
  }
#else
  uint64_t bits = 0;
  for (int lane = 0; lane < static_cast<int>(sizeof(V) / sizeof(T)); ++lane) {
    bits |= static_cast<uint64_t>(((IntegersOf<T>)large)[lane] & 1) << lane;
  }
  return bits;
#endif
}

/// Appends the large ones of the elements [begin, end), however many they are.
template <typename T>
__attribute__((noinline)) void AppendAll(const CollectArguments<T>& a, int64_t begin, int64_t end,
                                         IntegerOf<T> threshold, Found<T>& result) {
  Found<T> found = result;
  ForEach<T>(end - begin, [&]<typename V>(int64_t offset) {
    AppendLanes(found, begin + offset, ValueAt<V>(a, begin + offset), threshold);
  });
  result = found;
}

#if defined(THINWIRE_ISA_avx512)
/// The same where few are large: finds the vectors that hold any, and packs those alone.
void AppendFew(const CollectArguments<float>& a, int64_t begin, int64_t end, int32_t threshold,
               Found<float>& found) {
  constexpr int kVectors = 256;
  uint16_t large[kVectors];
  int32_t positions[kVectors + kLanes];
  Ints lanes{};
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lane;
  const __m512i least = _mm512_set1_epi32(threshold);
  for (; begin + kVectors * kLanes <= end; begin += kVectors * kLanes) {
    for (int v = 0; v < kVectors; ++v) {
      const Ints keys = (Ints)ValueAt<Floats>(a, begin + v * kLanes) & 0x7FFFFFFF;
      large[v] = _mm512_cmpge_epi32_mask((__m512i)keys, least);
    }
    int count = 0;
    for (int v = 0; v < kVectors; v += kLanes) {
      __m256i bits;
      __builtin_memcpy(&bits, large + v, sizeof(bits));
      const __m512i wide = _mm512_maskz_cvtepu16_epi32(0xFFFF, bits);
      const __mmask16 any = _mm512_test_epi32_mask(wide, wide);
      _mm512_storeu_si512(positions + count,
                          _mm512_maskz_compress_epi32(any, (__m512i)(lanes + v)));
      count += __builtin_popcount(any);
    }
    Found<float> result = found;
    for (int p = 0; p < count; ++p) {
      const __mmask16 wanted = large[positions[p]];
      const int64_t i = begin + positions[p] * kLanes;
      const Floats value = ValueAt<Floats>(a, i);
      _mm512_storeu_si512(
          result.indices + result.count,
          _mm512_maskz_compress_epi32(wanted, (__m512i)(lanes + static_cast<int32_t>(i))));
      _mm512_storeu_ps(result.values + result.count, _mm512_maskz_compress_ps(wanted, value));
      result.count += __builtin_popcount(wanted);
    }
    found = result;
  }
  AppendAll(a, begin, end, threshold, found);
}
#endif

}  // namespace

template <typename T>
int64_t CollectLarge(const CollectArguments<T>& arguments, typename FlatKernels<T>::Key threshold,
                     int64_t begin, int64_t end, int32_t* indices, T* values) {
  const CollectArguments<T> a = arguments;
  Found<T> found{indices, values};
#if defined(THINWIRE_ISA_avx512)
  if constexpr (sizeof(T) == sizeof(float)) {
    AppendFew(a, begin, end, threshold, found);
  } else {
    AppendAll(a, begin, end, threshold, found);
  }
#else
  // Most blocks hold none to few: their bits are looked through two at a time, without a branch
  // that could be guessed wrong for each.
  using V = VectorOf<T>;
  constexpr int64_t kBlock = 64, kLanesOfV = sizeof(V) / sizeof(T), kFew = 8;
  int64_t block = begin;
  for (; block + kBlock <= end; block += kBlock) {
    uint64_t large = 0;
    for (int64_t lane = 0; lane < kBlock; lane += kLanesOfV) {
      large |= LargeLanes<V>(ValueAt<V>(a, block + lane), threshold) << lane;
    }
    const int count = __builtin_popcountll(large);
    if (count > kFew) {
      AppendAll(a, block, block + kBlock, threshold, found);
      continue;
    }
    for (int pairs = count <= 2 ? 1 : (count + 1) / 2; pairs > 0; --pairs) {
      for (int i = 0; i < 2; ++i) {
        const int64_t at = block + __builtin_ctzll(large | uint64_t{1} << (kBlock - 1));
        found.Append(at, ValueAt<T>(a, at), large != 0);
        large &= large - 1;
      }
    }
  }
  AppendAll(a, block, end, threshold, found);
#endif
  return found.count;
}

template <typename T>
void Gather(const CollectArguments<T>& arguments, const int32_t* indices, T* values,
            int64_t count) {
  const CollectArguments<T> a = arguments;
  for (int64_t j = 0; j < count; ++j) values[j] = ValueAt<T>(a, indices[j]);
}

template void Gather(const CollectArguments<float>&, const int32_t*, float*, int64_t);
template void Gather(const CollectArguments<double>&, const int32_t*, double*, int64_t);
template int64_t CollectLarge(const CollectArguments<float>&, int32_t, int64_t, int64_t, int32_t*,
                              float*);
template int64_t CollectLarge(const CollectArguments<double>&, int64_t, int64_t, int64_t, int32_t*,
                              double*);

}  // namespace thinwire::cpu::THINWIRE_ISA
