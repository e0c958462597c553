// The mean of decoded sign messages, the server's input.
#pragma once

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/signs.h"

namespace thinwire::cpu::THINWIRE_ISA {

constexpr int kWord = 32;

#if defined(THINWIRE_ISA_avx512)
/// The bits of up to eight messages, brought together by element: an element's sum of several
/// messages is then looked up, in fewer instructions than it takes to add them.
class GatheredBits {
 public:
  static constexpr int64_t kMessages = 8, kWords = 16;

  static bool Supported() { return __builtin_cpu_supports("gfni"); }

  /// Words [first, end) of each message, of which kWords are taken if they are more.
  __attribute__((noinline, target("gfni"))) void Gather(const uint32_t* const* messages,
                                                        int64_t count, int64_t first, int64_t end) {
    const int64_t words = end - first;
    const auto there = static_cast<__mmask16>(words < kWords ? (1 << words) - 1 : 0xFFFF);
    // Backwards, since the first row of a matrix of bits is its highest byte.
    __m512i bytes[kMessages];
    for (int64_t m = 0; m < kMessages; ++m) {
      bytes[7 - m] = m < count ? _mm512_maskz_loadu_epi32(there, messages[m] + first) : __m512i{};
    }
    // Bytes of all messages next to each other: of two, of four, of eight. With masks of ones where
    // g++ 12 takes the plain ones' operands for uninitialised.
    __m512i two[kMessages], four[kMessages], eight[kMessages];
    for (int i = 0; i < 4; ++i) {
      two[i] = _mm512_unpacklo_epi8(bytes[2 * i], bytes[2 * i + 1]);
      two[i + 4] = _mm512_unpackhi_epi8(bytes[2 * i], bytes[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      four[i / 2 * 4 + i % 2] = _mm512_unpacklo_epi16(two[2 * i], two[2 * i + 1]);
      four[i / 2 * 4 + i % 2 + 2] = _mm512_unpackhi_epi16(two[2 * i], two[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      eight[2 * i] = _mm512_maskz_unpacklo_epi32(0xFFFF, four[2 * i], four[2 * i + 1]);
      eight[2 * i + 1] = _mm512_maskz_unpackhi_epi32(0xFFFF, four[2 * i], four[2 * i + 1]);
    }
    // The product of each 8 bytes, messages by elements, with the unit matrix is its transpose.
    const __m512i unit = _mm512_set1_epi64(static_cast<int64_t>(0x8040201008040201));
    for (int64_t m = 0; m < kMessages; ++m) {
      _mm512_store_si512(bits_[m], _mm512_gf2p8affine_epi64_epi8(unit, eight[m], 0));
    }
  }

  /// Of the 16 elements from `offset` on, a multiple of 16 counted from the first word's begin: bit
  /// m is message m's.
  Ints At(uint32_t offset) const {
    const uint8_t* bits = &bits_[offset / 16 % 8][offset / 128 * 16];
    return (Ints)_mm512_maskz_cvtepu8_epi32(0xFFFF, Load16(bits));
  }

 private:
  static __m128i Load16(const uint8_t* bytes) {
    __m128i value;
    __builtin_memcpy(&value, bytes, sizeof(value));
    return value;
  }

  /// Registers' fourths hold the bytes of four words: of each word's half, and of the next one's.
  alignas(64) uint8_t bits_[kMessages][kWords * kWord / kMessages];
};
#endif

/// Sums as means. By a power of two: the same bits, and many times as fast, when multiplied by its
/// inverse.
template <typename T>
class Divider {
 public:
  explicit Divider(int64_t count)
      : count_(static_cast<T>(count)), inverse_((count & (count - 1)) == 0 ? 1 / count_ : T{0}) {}

  template <typename V>
  V operator()(V sum) const {
    return inverse_ != 0 ? sum * inverse_ : sum / count_;
  }

 private:
  T count_, inverse_;
};

/// The mean of decoded messages, added in their order: an input of ForEachWord.
template <typename T>
class MeanOfMessages {
  using Vector = VectorOf<T>;
  static constexpr int kVectors = kWord / kLanesOf<Vector>;
  /// Messages whose scales are kept as vectors.
  static constexpr int64_t kKept = 8;

 public:
  explicit MeanOfMessages(const SignParts<T>& messages)
      : messages_(messages),
        kept_(messages.count < kKept ? messages.count : kKept),
        divided_(messages.count) {
    for (int64_t m = 0; m < kept_; ++m) negative_[m] = -messages_.Scale(m) - Vector{};
  }

  void Word(int64_t i, int64_t) {
    const int64_t word = i / kWord;
    Vector sums[kVectors];
    for (int k = 0; k < kVectors; ++k) sums[k] = Kept(0, word, k);
    for (int64_t m = 1; m < kept_; ++m) {
      for (int k = 0; k < kVectors; ++k) sums[k] += Kept(m, word, k);
    }
    for (int64_t m = kept_; m < messages_.count; ++m) {
      for (int k = 0; k < kVectors; ++k) {
        sums[k] +=
            SignedScale<Vector>(messages_.words[m][word], k * kLanesOf<Vector>, messages_.Scale(m));
      }
    }
    for (int k = 0; k < kVectors; ++k) means_[k] = divided_(sums[k]);
  }

  template <typename V>
  V At(int64_t i, int offset) const {
    if constexpr (kLanesOf<V> == 1) {
      const int64_t word = i / kWord;
      T sum = SignedScale<T>(messages_.words[0][word], offset, messages_.Scale(0));
      for (int64_t m = 1; m < messages_.count; ++m) {
        sum += SignedScale<T>(messages_.words[m][word], offset, messages_.Scale(m));
      }
      return divided_(sum);
    } else {
      return means_[offset / kLanesOf<V>];
    }
  }

 private:
  /// Vector k of a word of message m.
  Vector Kept(int64_t m, int64_t word, int k) const {
    return NegatedWhereSet(messages_.words[m][word], k * kLanesOf<Vector>, negative_[m]);
  }

  const SignParts<T> messages_;
  const int64_t kept_;
  const Divider<T> divided_;
  Vector negative_[kKept] = {};
  Vector means_[kVectors];
};

#if defined(THINWIRE_ISA_avx512)
/// The same bits, of at most GatheredBits::kMessages messages, with kMany of more than kLookedUp.
template <bool kMany>
class LookedUpMean {
 public:
  /// As many sums as two registers hold.
  static constexpr int64_t kLookedUp = 5;

  /// `bits` is another object so that this one can live in registers.
  LookedUpMean(const SignParts<float>& messages, GatheredBits& bits)
      : messages_(messages), divided_(messages.count), bits_(bits) {
    constexpr uint32_t kBit[] = {0xAAAAAAAA, 0xCCCCCCCC, 0xF0F0F0F0, 0xFF00FF00, 0xFFFF0000};
    for (int half = 0; half < 2; ++half) {
      Floats sums = NegatedWhereSet(kBit[0], half * kLanes, Negative(0));
      for (int64_t m = 1; m < kLookedUp && m < messages.count; ++m) {
        sums += NegatedWhereSet(kBit[m], half * kLanes, Negative(m));
      }
      sums_[half] = kMany ? sums : divided_(sums);
    }
    for (int64_t m = 0; m < kAdded; ++m) {
      // Adding -0 changes nothing.
      added_[m] = kLookedUp + m < messages.count ? Negative(kLookedUp + m) : -0.0f - Floats{};
    }
  }

  void Word(int64_t i, int64_t end) {
    if (i < gathered_end_) return;
    gathered_ = i;
    gathered_end_ = i + GatheredBits::kWords * kWord;
    bits_.Gather(messages_.words, messages_.count, i / kWord, end / kWord);
  }

  template <typename V>
  V At(int64_t i, int offset) const {
    if constexpr (kLanesOf<V> == 1) {
      return MeanOfMessages<float>(messages_).template At<float>(i, offset);
    } else {
      const Ints bits = bits_.At(static_cast<uint32_t>(i - gathered_));
      Floats sum = _mm512_permutex2var_ps(sums_[0], (__m512i)bits, sums_[1]);
      if (!kMany) return sum;
      for (int m = 0; m < kAdded; ++m) {
        const Ints sign = (Ints)(-0.0f - Floats{}) & bits << (31 - kLookedUp - m);
        sum += (Floats)((Ints)added_[m] ^ sign);
      }
      return divided_(sum);
    }
  }

 private:
  static constexpr int kAdded = GatheredBits::kMessages - kLookedUp;

  Floats Negative(int64_t message) const { return -messages_.Scale(message) - Floats{}; }

  const SignParts<float> messages_;
  const Divider<float> divided_;
  Floats sums_[2];  // by the bits of the first messages
  Floats added_[kAdded];
  GatheredBits& bits_;  // of elements [gathered_, gathered_end_)
  int64_t gathered_ = 0, gathered_end_ = 0;
};
#endif

/// Calls body(source), whose source has the messages' mean.
template <typename T, typename Body>
inline auto WithMean(const SignParts<T>& messages, const Body& body) {
#if defined(THINWIRE_ISA_avx512)
  if constexpr (sizeof(T) == sizeof(float)) {
    if (messages.count <= GatheredBits::kMessages && GatheredBits::Supported()) {
      GatheredBits bits;
      if (messages.count > LookedUpMean<true>::kLookedUp) {
        return body(LookedUpMean<true>(messages, bits));
      }
      return body(LookedUpMean<false>(messages, bits));
    }
  }
#endif
  return body(MeanOfMessages<T>(messages));
}

}  // namespace thinwire::cpu::THINWIRE_ISA
