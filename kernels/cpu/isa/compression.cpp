// The scaled sign's passes over one piece of a run: whole words, or a part of one word.
//
// Settings are copied into locals, which no store to a vector can change.
#include "kernels/cpu/isa/adam.h"
#include "kernels/cpu/isa/input.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/mean_of_messages.h"
#include "kernels/cpu/isa/signs.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

/// Asks for what a pass comes to soon. Adding up many messages takes so many instructions that the
/// processor does not look far enough ahead by itself.
inline void Prefetch(const void* at) {
  constexpr int64_t kAhead = 2048;  // bytes
  __builtin_prefetch(static_cast<const char*>(at) + kAhead);
}

template <typename V>
inline V Decode(const SignPart<ElementOf<V>>& message, int64_t i, int offset) {
  return SignedScale<V>(message.words[i / kWord], offset, message.scale);
}

/// error - scale * sign(error)
template <typename V>
inline V Settled(bool pending, ElementOf<V> scale, V error) {
  if (!pending) return error;
  const V up = scale - V{}, down = -scale - V{};
  return error + (error >= V{} ? down : up);
}

/// Where a pass's input comes from: Word(i, end) is told the first element of each whole word, and
/// where the piece ends; At<V>(i, offset) gives the elements of V from `i` on, which is element
/// `offset` of its word.
template <typename T>
struct WorkerInput {
  const InputArguments<T> input;
  void Word(int64_t, int64_t) {}
  template <typename V>
  V At(int64_t i, int) const {
    return InputAt<V>(input, i);
  }
};

/// Calls source.Word and body.operator()<V>(i, offset in its word) over [begin, end): whole words,
/// or a part of one.
template <typename T, typename Source, typename Body, typename Finish>
inline void ForEachWord(int64_t begin, int64_t end, Source& source, const Body& body,
                        const Finish& finish_word) {
  using V = VectorOf<T>;
  if (begin % kWord != 0 || end % kWord != 0) {
    for (int64_t i = begin; i < end; ++i) {
      body.template operator()<T>(i, static_cast<int>(i % kWord));
    }
    return;
  }
  for (int64_t word = begin; word < end; word += kWord) {
    source.Word(word, end);
#pragma GCC unroll 32
    for (int offset = 0; offset < kWord; offset += kLanesOf<V>) {
      body.template operator()<V>(word + offset, offset);
    }
    finish_word(word);
  }
}

/// Packs the signs of value.operator()<V>(i, offset, input there) and sums their magnitudes.
template <bool kSquares, typename T, typename Source, typename Value>
inline double PackWords(int64_t begin, int64_t end, Source source, uint32_t* bits,
                        const Value& value) {
  WordSums<kSquares> sums;
  double rest = 0;
  uint32_t word = 0;
  ForEachWord<T>(
      begin, end, source,
      [&]<typename V>(int64_t i, int offset) {
        const V v = value.template operator()<V>(i, offset, source.template At<V>(i, offset));
        word |= SignBits(v) << offset;
        if constexpr (kLanesOf<V> == 1) {
          rest += WordSums<kSquares>::Of(v);
        } else {
          sums.Add(offset, v);
        }
      },
      [&](int64_t first) {
        bits[first / kWord] = word;
        word = 0;
        sums.FinishWord();
      });
  if (begin % kWord == 0 && end % kWord == 0) return sums.Total();
  const uint32_t to_end = ~uint32_t{0} >> ((kWord - end % kWord) % kWord);
  const uint32_t mask = to_end & ~uint32_t{0} << begin % kWord;
  uint32_t& whole = bits[begin / kWord];
  whole = (whole & ~mask) | word;
  return rest;
}

template <typename T, typename Source, typename Value>
inline double Pack(const PackArguments<T>& a, int64_t begin, int64_t end, const Source& source,
                   const Value& value) {
  return a.squares ? PackWords<true, T>(begin, end, source, a.bits, value)
                   : PackWords<false, T>(begin, end, source, a.bits, value);
}

template <typename T, typename Body>
inline void ForEachWord(int64_t begin, int64_t end, const Body& body) {
  struct {
    void Word(int64_t, int64_t) {}
  } nothing;
  ForEachWord<T>(begin, end, nothing, body, [](int64_t) {});
}

}  // namespace

template <typename T>
double PackInput(const PackArguments<T>& arguments, int64_t begin, int64_t end) {
  const PackArguments<T> a = arguments;
  return Pack(a, begin, end, WorkerInput<T>{a.input},
              []<typename V>(int64_t, int, V input) { return input; });
}

template <typename T>
double PackDifference(const PackArguments<T>& arguments, int64_t begin, int64_t end) {
  const PackArguments<T> a = arguments;
  return Pack(a, begin, end, WorkerInput<T>{a.input},
              [&]<typename V>(int64_t i, int offset, V input) {
                V state = Load<V>(a.state + i);
                if (a.pending.words != nullptr) {
                  state += Decode<V>(a.pending, i, offset);
                  Store<V>(a.state + i, state);
                }
                return V(input - state);
              });
}

template <typename T>
double PackSum(const PackArguments<T>& arguments, int64_t begin, int64_t end) {
  const PackArguments<T> a = arguments;
  return Pack(a, begin, end, WorkerInput<T>{a.input}, [&]<typename V>(int64_t i, int, V input) {
    const V sum = Settled(a.settle, a.pending.scale, Load<V>(a.state + i)) + input;
    Store<V>(a.state + i, sum);
    return sum;
  });
}

template <typename T>
double PackMeanDifference(const PackArguments<T>& arguments, int64_t begin, int64_t end) {
  const PackArguments<T> a = arguments;
  return WithMean(a.messages, [&](auto source) {
    return Pack(a, begin, end, source, [&]<typename V>(int64_t i, int, V mean) {
      Prefetch(a.state + i);
      Prefetch(a.target + i);
      const V estimate = Load<V>(a.state + i) + mean;
      Store<V>(a.state + i, estimate);
      return V(estimate - Load<V>(a.target + i));
    });
  });
}

template <typename T>
double PackMeanSum(const PackArguments<T>& arguments, int64_t begin, int64_t end) {
  const PackArguments<T> a = arguments;
  return WithMean(a.messages, [&](auto source) {
    return Pack(a, begin, end, source, [&]<typename V>(int64_t i, int, V mean) {
      const V sum = Settled(a.settle, a.pending.scale, Load<V>(a.state + i)) + mean;
      Store<V>(a.state + i, sum);
      return sum;
    });
  });
}

template <typename T>
void MeanOfSigns(const SignParts<T>& messages, bool add, bool stream, T* y, int64_t begin,
                 int64_t end) {
  const auto nothing = [](int64_t) {};
  WithMean(messages, [&](auto mean) {
    if (add) {
      ForEachWord<T>(
          begin, end, mean,
          [&]<typename V>(int64_t i, int offset) {
            Store<V>(y + i, Load<V>(y + i) + mean.template At<V>(i, offset));
          },
          nothing);
    } else if (stream) {
      ForEachWord<T>(
          begin, end, mean,
          [&]<typename V>(int64_t i, int offset) {
            Put<true, V>(y + i, mean.template At<V>(i, offset));
          },
          nothing);
      FinishStream();
    } else {
      ForEachWord<T>(
          begin, end, mean,
          [&]<typename V>(int64_t i, int offset) {
            Store<V>(y + i, mean.template At<V>(i, offset));
          },
          nothing);
    }
  });
}

template <typename T>
void AddSigns(const SignPart<T>& signs, T* y, int64_t begin, int64_t end) {
  const SignPart<T> message = signs;
  ForEachWord<T>(begin, end, [&]<typename V>(int64_t i, int offset) {
    Store<V>(y + i, Load<V>(y + i) + Decode<V>(message, i, offset));
  });
}

template <typename T>
void SettleError(T scale, T* error, int64_t begin, int64_t end) {
  ForEachWord<T>(begin, end, [&]<typename V>(int64_t i, int) {
    Store<V>(error + i, Settled(true, scale, Load<V>(error + i)));
  });
}

namespace {

template <bool kMaximum, typename T>
inline void AddThenAdam(SignPart<T> message, AdamArguments<T> a, T* estimate, T* m, T* v, T* v_max,
                        T* x, int64_t begin, int64_t end) {
  const T inverse_divisor = 1 / a.variance_divisor;
  ForEachWord<T>(begin, end, [&]<typename V>(int64_t i, int offset) {
    const V gradient = Load<V>(estimate + i) + Decode<V>(message, i, offset);
    Store<V>(estimate + i, gradient);
    AdamStep<kMaximum>(a, inverse_divisor, gradient, m, v, v_max, x, i);
  });
}

}  // namespace

template <typename T>
void AddSignsAndAdam(const SignPart<T>& message, const AdamArguments<T>& a, T* estimate, T* m, T* v,
                     T* v_max, T* x, int64_t begin, int64_t end) {
  if (v_max != nullptr) {
    AddThenAdam<true>(message, a, estimate, m, v, v_max, x, begin, end);
  } else {
    AddThenAdam<false>(message, a, estimate, m, v, v_max, x, begin, end);
  }
}

#define THINWIRE_INSTANTIATE(T)                                                                  \
  template double PackInput(const PackArguments<T>&, int64_t, int64_t);                          \
  template double PackDifference(const PackArguments<T>&, int64_t, int64_t);                     \
  template double PackSum(const PackArguments<T>&, int64_t, int64_t);                            \
  template double PackMeanDifference(const PackArguments<T>&, int64_t, int64_t);                 \
  template double PackMeanSum(const PackArguments<T>&, int64_t, int64_t);                        \
  template void MeanOfSigns(const SignParts<T>&, bool, bool, T*, int64_t, int64_t);              \
  template void AddSigns(const SignPart<T>&, T*, int64_t, int64_t);                              \
  template void SettleError(T, T*, int64_t, int64_t);                                            \
  template void AddSignsAndAdam(const SignPart<T>&, const AdamArguments<T>&, T*, T*, T*, T*, T*, \
                                int64_t, int64_t);
THINWIRE_INSTANTIATE(float)
THINWIRE_INSTANTIATE(double)
#undef THINWIRE_INSTANTIATE

}  // namespace thinwire::cpu::THINWIRE_ISA
