// Elementwise passes over flat memory, and dropout.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

/// Stores value.operator()<V>(i) to y[i], streamed or not.
template <typename T, typename Value>
inline void Fill(T* y, int64_t count, bool stream, const Value& value) {
  if (stream) {
    ForEach<T>(count,
               [&]<typename V>(int64_t i) { Put<true>(y + i, value.template operator()<V>(i)); });
    FinishStream();
  } else {
    ForEach<T>(count,
               [&]<typename V>(int64_t i) { Put<false>(y + i, value.template operator()<V>(i)); });
  }
}

}  // namespace

void Copy(const float* x, float* y, int64_t count, bool stream) {
  Fill(y, count, stream, [=]<typename V>(int64_t i) { return Load<V>(x + i); });
}

template <typename T>
void Add(const T* a, const T* b, bool relu, T* y, int64_t count, bool stream) {
  if (relu) {
    Fill(y, count, stream,
         [=]<typename V>(int64_t i) { return Positive<V>(Load<V>(a + i) + Load<V>(b + i)); });
  } else {
    Fill(y, count, stream, [=]<typename V>(int64_t i) { return Load<V>(a + i) + Load<V>(b + i); });
  }
}

void Relu(const float* x, float* y, int64_t count, bool stream) {
  Fill(y, count, stream, [=]<typename V>(int64_t i) { return Positive<V>(Load<V>(x + i)); });
}

void ReluBackward(const float* y, const float* y_gradient, float* x_gradient, int64_t count,
                  bool stream) {
  Fill(x_gradient, count, stream, [=]<typename V>(int64_t i) {
    return Masked(Load<V>(y + i) > V{}, Load<V>(y_gradient + i));
  });
}

template <typename T>
void Scale(const T* x, T factor, T* y, int64_t count, bool stream) {
  Fill(y, count, stream, [=]<typename V>(int64_t i) { return factor * Load<V>(x + i); });
}

template <typename T>
void Average(const T* x, T decay, T complement, T* average, int64_t count) {
  ForEach<T>(count, [=]<typename V>(int64_t i) {
    Store<V>(average + i, decay * Load<V>(average + i) + complement * Load<V>(x + i));
  });
}

#define THINWIRE_INSTANTIATE(T)                                         \
  template void Add(const T*, const T*, bool, T*, int64_t, bool);       \
  template void Scale(const T*, T, T*, int64_t, bool);                  \
  template void Average(const T*, T, T, T*, int64_t);
THINWIRE_INSTANTIATE(float)
THINWIRE_INSTANTIATE(double)
#undef THINWIRE_INSTANTIATE

namespace {

typedef uint64_t Counters __attribute__((vector_size(4 * kLanes)));
constexpr int kCounters = kLanes / 2;

/// The 64-bit products of the low halves.
inline Counters MultiplyLow(Counters a, Counters b) {
#if defined(THINWIRE_ISA_avx512)
  return (Counters)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif defined(THINWIRE_ISA_avx2)
  return (Counters)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Counters)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

struct RandomWords {
  Ints first, second;
};

/// Philox4x32-10 (kernels/random.h) of the kCounters counters from `index` on: 4 * kCounters words
/// in the order of their elements. Each 64-bit lane holds a word in its low half; what is left in
/// the high half does not matter to the products, and is cut at the end.
inline RandomWords Philox(uint64_t seed, uint64_t step, uint64_t index) {
  Counters lanes{};
  for (int i = 0; i < kCounters; ++i) lanes[i] = static_cast<uint64_t>(i);
  const Counters indices = lanes + index;
  Counters c0 = indices, c1 = indices >> 32, c2 = Counters{} + step, c3 = Counters{} + (step >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const Counters p0 = MultiplyLow(c0, Counters{} + 0xD2511F53u);
    const Counters p1 = MultiplyLow(c2, Counters{} + 0xCD9E8D57u);
    c0 = (p1 >> 32) ^ c1 ^ k0;
    c1 = p1;
    c2 = (p0 >> 32) ^ c3 ^ k1;
    c3 = p0;
  }
  const Counters low = (c0 & 0xFFFFFFFFu) | (c1 << 32), high = (c2 & 0xFFFFFFFFu) | (c3 << 32);
#if defined(THINWIRE_ISA_avx512)
  return {(Ints)__builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11),
          (Ints)__builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15)};
#elif defined(THINWIRE_ISA_avx2)
  return {(Ints)__builtin_shufflevector(low, high, 0, 4, 1, 5),
          (Ints)__builtin_shufflevector(low, high, 2, 6, 3, 7)};
#else
  return {(Ints)__builtin_shufflevector(low, high, 0, 2),
          (Ints)__builtin_shufflevector(low, high, 1, 3)};
#endif
}

}  // namespace

void Dropout(const float* x, float rate, uint64_t seed, uint64_t step, int64_t first, float* y,
             int64_t count) {
  const float factor = 1.0f / (1.0f - rate);
  // The upper 24 bits of a word, as a fraction, are at least `rate`.
  const int32_t threshold = static_cast<int32_t>(__builtin_ceilf(rate * 0x1p24f));
  auto drop = [=](Ints words, Floats values) {
    const Ints bits = (words >> 8) & 0xFFFFFF;
    return Masked(bits >= threshold, factor * values);
  };
  for (int64_t i = 0; i < count; i += 2 * kLanes) {
    const RandomWords words = Philox(seed, step, static_cast<uint64_t>(first + i) / 4);
    if (i + 2 * kLanes <= count) {
      const Floats second = Load<Floats>(x + i + kLanes);
      Store(y + i, drop(words.first, Load<Floats>(x + i)));
      Store(y + i + kLanes, drop(words.second, second));
      continue;
    }
    float rest[2 * kLanes] = {};
    const size_t bytes = static_cast<size_t>(count - i) * sizeof(float);
    __builtin_memcpy(rest, x + i, bytes);
    Store(rest, drop(words.first, Load<Floats>(rest)));
    Store(rest + kLanes, drop(words.second, Load<Floats>(rest + kLanes)));
    __builtin_memcpy(y + i, rest, bytes);
  }
}

}  // namespace thinwire::cpu::THINWIRE_ISA
