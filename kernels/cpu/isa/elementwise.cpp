// Elementwise passes over flat memory, and dropout.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

/// Stores value.operator()<V>(i) to y[i], streamed or not.
template <typename Value>
inline void Fill(float* y, int64_t count, bool stream, const Value& value) {
  if (stream) {
    ForEach(count,
            [&]<typename V>(int64_t i) { Put<true>(y + i, value.template operator()<V>(i)); });
    FinishStream();
  } else {
    ForEach(count,
            [&]<typename V>(int64_t i) { Put<false>(y + i, value.template operator()<V>(i)); });
  }
}

}  // namespace

void Copy(const float* x, float* y, int64_t count, bool stream) {
  Fill(y, count, stream, [=]<typename V>(int64_t i) { return Load<V>(x + i); });
}

void Add(const float* a, const float* b, bool relu, float* y, int64_t count, bool stream) {
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

void Scale(const float* x, float factor, float* y, int64_t count, bool stream) {
  Fill(y, count, stream, [=]<typename V>(int64_t i) { return factor * Load<V>(x + i); });
}

void Average(const float* x, float decay, float complement, float* average, int64_t count) {
  ForEach(count, [=]<typename V>(int64_t i) {
    Store<V>(average + i, decay * Load<V>(average + i) + complement * Load<V>(x + i));
  });
}

void Dropout(const float* x, float rate, uint64_t seed, uint64_t step, int64_t first, float* y,
             int64_t count) {
  // Philox4x32-10 (kernels/random.h) on many counters at once: four words, so four elements, each.
  constexpr int kCounters = 32;
  const float factor = 1.0f / (1.0f - rate);
  for (int64_t begin = 0; begin < count; begin += 4 * kCounters) {
    uint32_t c0[kCounters], c1[kCounters], c2[kCounters], c3[kCounters];
    const uint64_t index = static_cast<uint64_t>(first + begin) / 4;
    for (int i = 0; i < kCounters; ++i) {
      c0[i] = static_cast<uint32_t>(index + i);
      c1[i] = static_cast<uint32_t>((index + i) >> 32);
      c2[i] = static_cast<uint32_t>(step);
      c3[i] = static_cast<uint32_t>(step >> 32);
    }
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      for (int i = 0; i < kCounters; ++i) {
        const uint64_t p0 = uint64_t{0xD2511F53u} * c0[i];
        const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2[i];
        c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
        c1[i] = static_cast<uint32_t>(p1);
        c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
        c3[i] = static_cast<uint32_t>(p0);
      }
    }
    float uniform[4 * kCounters];
    for (int i = 0; i < kCounters; ++i) {
      uniform[4 * i] = static_cast<float>(static_cast<int32_t>(c0[i] >> 8)) * 0x1p-24f;
      uniform[4 * i + 1] = static_cast<float>(static_cast<int32_t>(c1[i] >> 8)) * 0x1p-24f;
      uniform[4 * i + 2] = static_cast<float>(static_cast<int32_t>(c2[i] >> 8)) * 0x1p-24f;
      uniform[4 * i + 3] = static_cast<float>(static_cast<int32_t>(c3[i] >> 8)) * 0x1p-24f;
    }
    const int64_t left = count - begin < 4 * kCounters ? count - begin : 4 * kCounters;
    ForEach(left, [&]<typename V>(int64_t i) {
      const V value = factor * Load<V>(x + begin + i);
      const V kept = Load<V>(uniform + i) < V{} + rate ? V{} : value;
      Store<V>(y + begin + i, kept);
    });
  }
}

}  // namespace thinwire::cpu::THINWIRE_ISA
