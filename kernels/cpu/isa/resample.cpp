// Weighted sums of 8-bit RGB pixels for resizing. All instruction sets give the same bytes: the
// sums are of integers.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

constexpr int64_t kChannels = 3;
constexpr int32_t kHalf = 1 << (kResampleBits - 1);

inline uint8_t ToByte(int32_t sum) {
  const int32_t value = sum >> kResampleBits;
  return static_cast<uint8_t>(value > 255 ? 255 : value);
}

inline void SumPixels(const int32_t* weights, int64_t taps, const uint8_t* pixel, uint8_t* output) {
  int32_t red = kHalf, green = kHalf, blue = kHalf;
  for (int64_t tap = 0; tap < taps; ++tap, pixel += kChannels) {
    red += weights[tap] * pixel[0];
    green += weights[tap] * pixel[1];
    blue += weights[tap] * pixel[2];
  }
  output[0] = ToByte(red);
  output[1] = ToByte(green);
  output[2] = ToByte(blue);
}

#if defined(THINWIRE_ISA_avx512) || defined(THINWIRE_ISA_avx2)
constexpr bool kVectorPixels = true;

/// The same, four taps at a time, each with its channels in the first three of four lanes. Reads 16
/// bytes for every four taps begun and as many weights, and writes a fourth byte.
inline void SumPixelsWide(const int32_t* weights, int64_t taps, const uint8_t* pixel,
                          uint8_t* output) {
  const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  const auto load = [](const void* from) {
    return _mm_loadu_si128(static_cast<const __m128i*>(from));
  };
#if defined(THINWIRE_ISA_avx512)
  // With masks of ones, since g++ 12 takes the plain ones' operands for uninitialised.
  constexpr __mmask16 kAll = 0xFFFF;
  const __m512i each = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  __m512i sums = _mm512_setzero_si512();
  for (int64_t tap = 0; tap < taps; tap += 4, pixel += 4 * kChannels) {
    const __m512i weight = _mm512_maskz_permutexvar_epi32(
        kAll, each, _mm512_maskz_broadcast_i32x4(kAll, load(weights + tap)));
    const __m512i values = _mm512_maskz_cvtepu8_epi32(kAll, _mm_shuffle_epi8(load(pixel), spread));
    sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(values, weight));
  }
  sums = _mm512_add_epi32(sums, _mm512_maskz_shuffle_i32x4(kAll, sums, sums, 0x4E));
  sums = _mm512_add_epi32(sums, _mm512_maskz_shuffle_i32x4(kAll, sums, sums, 0xB1));
  __m128i sum = _mm512_maskz_extracti32x4_epi32(0xF, sums, 0);
#else
  const __m256i first = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  const __m256i second = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
  __m256i sums = _mm256_setzero_si256();
  for (int64_t tap = 0; tap < taps; tap += 4, pixel += 4 * kChannels) {
    const __m256i weight = _mm256_broadcastsi128_si256(load(weights + tap));
    const __m128i values = _mm_shuffle_epi8(load(pixel), spread);
    sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(values),
                                                     _mm256_permutevar8x32_epi32(weight, first)));
    sums =
        _mm256_add_epi32(sums, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(values, 8)),
                                                  _mm256_permutevar8x32_epi32(weight, second)));
  }
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
#endif
  sum = _mm_add_epi32(sum, _mm_set1_epi32(kHalf));
  sum = _mm_srai_epi32(sum, kResampleBits);
  sum = _mm_packus_epi32(sum, sum);
  const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
  __builtin_memcpy(output, &bytes, sizeof bytes);
}
#else
constexpr bool kVectorPixels = false;

inline void SumPixelsWide(const int32_t* weights, int64_t taps, const uint8_t* pixel,
                          uint8_t* output) {
  SumPixels(weights, taps, pixel, output);
}
#endif

// g++ 12 converts between vectors of bytes and of integers one by one.
inline Ints Widen(const uint8_t* bytes) {
#if defined(THINWIRE_ISA_avx512)
  const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  return (Ints)_mm512_maskz_cvtepu8_epi32(0xFFFF, packed);
#elif defined(THINWIRE_ISA_avx2)
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
#else
  Ints wide;
  for (int i = 0; i < kLanes; ++i) wide[i] = bytes[i];
  return wide;
#endif
}

inline void StoreBytes(Ints sums, uint8_t* output) {
  const Ints values = sums >> kResampleBits;  // none is negative
#if defined(THINWIRE_ISA_avx512)
  const __m128i bytes = _mm512_maskz_cvtusepi32_epi8(0xFFFF, (__m512i)values);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(output), bytes);
#elif defined(THINWIRE_ISA_avx2)
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)values),
                                         _mm256_extracti128_si256((__m256i)values, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(output), _mm_packus_epi16(words, words));
#else
  for (int i = 0; i < kLanes; ++i)
    output[i] = static_cast<uint8_t>(values[i] > 255 ? 255 : values[i]);
#endif
}

/// kVectors vectors of sums at a time stay in registers. @return Where it had to stop.
template <int kVectors>
inline int64_t MixVectors(const int32_t* weights, int64_t taps, const uint8_t* const* rows,
                          int64_t begin, int64_t size, uint8_t* output) {
  for (; begin + kVectors * kLanes <= size; begin += kVectors * kLanes) {
    Ints sums[kVectors];
    for (Ints& sum : sums) sum = Ints{} + kHalf;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const uint8_t* const row = rows[tap] + begin;
      for (int i = 0; i < kVectors; ++i) sums[i] += Widen(row + i * kLanes) * weights[tap];
    }
    for (int i = 0; i < kVectors; ++i) StoreBytes(sums[i], output + begin + i * kLanes);
  }
  return begin;
}

}  // namespace

void ResampleRow(const ResampleTaps& x, const uint8_t* input, int64_t input_bytes,
                 uint8_t* output) {
  // Where the vectors of the last taps end.
  const int64_t reach = (x.taps - 1) / 4 * 4 * kChannels + 16;
  for (int64_t i = 0; i < x.outputs; ++i) {
    const int64_t start = int64_t{x.starts[i]} * kChannels;
    const int32_t* const weights = x.weights + i * x.stride;
    if (kVectorPixels && start + reach <= input_bytes && i + 1 < x.outputs) {
      SumPixelsWide(weights, x.taps, input + start, output + i * kChannels);
    } else {
      SumPixels(weights, x.taps, input + start, output + i * kChannels);
    }
  }
}

void MixRows(const int32_t* weights, int64_t taps, const uint8_t* const* rows, int64_t size,
             uint8_t* output) {
  int64_t at = MixVectors<4>(weights, taps, rows, 0, size, output);
  at = MixVectors<1>(weights, taps, rows, at, size, output);
  for (; at < size; ++at) {
    int32_t sum = kHalf;
    for (int64_t tap = 0; tap < taps; ++tap) sum += weights[tap] * rows[tap][at];
    output[at] = ToByte(sum);
  }
}

}  // namespace thinwire::cpu::THINWIRE_ISA
