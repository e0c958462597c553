// The four passes of batch normalisation over rows of [rows, width].
//
// All of them read memory strictly in order, a row after the other: tiles of several rows would
// save loads of the channels' parameters, but memory delivers less to interleaved streams. Sums are
// float32 within kSumRows rows and float64 beyond.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

constexpr int64_t kSumRows = 32;     // rows summed in float32
constexpr int64_t kPrefetch = 2048;  // elements ahead
constexpr int64_t kStrip = 2048;  // channels at a time, so that partial sums stay in the L1 cache

/// Calls body.operator()<V>(element, channel) on all of [rows, width].
template <typename Body>
inline void ForEachElement(int64_t rows, int64_t width, const Body& body) {
  for (int64_t first = 0; first < rows * width; first += width) {
    ForEach(width, [&]<typename V>(int64_t c) { body.template operator()<V>(first + c, c); });
  }
}

/// Sums two values per element over all rows: pair.operator()<V>(row, channel, first, second) gives
/// them.
template <typename Pair>
inline void SumPairs(int64_t rows, int64_t width, double* sum1, double* sum2, const Pair& pair) {
  alignas(64) float partial1[kStrip], partial2[kStrip];
  for (int64_t strip = 0; strip < width; strip += kStrip) {
    const int64_t strip_width = width - strip < kStrip ? width - strip : kStrip;
    for (int64_t begin = 0; begin < rows; begin += kSumRows) {
      const int64_t end = begin + kSumRows < rows ? begin + kSumRows : rows;
      for (int64_t c = 0; c < strip_width; ++c) partial1[c] = partial2[c] = 0;
      for (int64_t row = begin; row < end; ++row) {
        ForEach(strip_width, [&]<typename V>(int64_t c) {
          V first, second;
          pair.template operator()<V>(row, strip + c, first, second);
          const V total1 = Load<V>(partial1 + c) + first, total2 = Load<V>(partial2 + c) + second;
          Store<V>(partial1 + c, total1);
          Store<V>(partial2 + c, total2);
        });
      }
      for (int64_t c = 0; c < strip_width; ++c) sum1[strip + c] += static_cast<double>(partial1[c]);
      for (int64_t c = 0; c < strip_width; ++c) sum2[strip + c] += static_cast<double>(partial2[c]);
    }
  }
}

/// Calls function.operator()<values...>() with the three flags as template arguments.
template <typename Function>
inline void WithFlags(bool a, bool b, bool c, const Function& function) {
  auto with_a = [&]<bool kA>() {
    auto with_b = [&]<bool kB>() {
      if (c) {
        function.template operator()<kA, kB, true>();
      } else {
        function.template operator()<kA, kB, false>();
      }
    };
    if (b) {
      with_b.template operator()<true>();
    } else {
      with_b.template operator()<false>();
    }
  };
  if (a) {
    with_a.template operator()<true>();
  } else {
    with_a.template operator()<false>();
  }
}

/// The normalised value, by the same operations wherever it is needed: the backward pass finds
/// exactly the sign that the forward pass saw.
template <typename V>
inline V Affine(V centred, const float* factor, const float* shift) {
  return MultiplyAdd(centred, Load<V>(factor), Load<V>(shift));
}

enum class Mask { kNone, kFromX, kFromY };

template <typename V, Mask kMask, bool kSecond>
inline V MaskedGradient(const GradientArguments& in, int64_t i, int64_t c, V centred) {
  V gradient = Load<V>(in.gradient + i);
  if constexpr (kSecond) gradient += Load<V>(in.gradient2 + i);
  if constexpr (kMask == Mask::kFromX) {
    return Masked(Affine<V>(centred, in.factor + c, in.shift + c) > V{}, gradient);
  } else if constexpr (kMask == Mask::kFromY) {
    return Masked(Load<V>(in.y + i) > V{}, gradient);
  } else {
    return gradient;
  }
}

/// As WithFlags, for how a gradient is formed and one more flag.
template <typename Function>
inline void WithGradient(const GradientArguments& in, bool flag, const Function& function) {
  auto with_mask = [&]<Mask kMask>() {
    WithFlags(in.gradient2 != nullptr, flag, false, [&]<bool kSecond, bool kFlag, bool>() {
      function.template operator()<kMask, kSecond, kFlag>();
    });
  };
  if (in.mask_from_x) {
    with_mask.template operator()<Mask::kFromX>();
  } else if (in.y != nullptr) {
    with_mask.template operator()<Mask::kFromY>();
  } else {
    with_mask.template operator()<Mask::kNone>();
  }
}

}  // namespace

void Moments(const float* x, int64_t rows, int64_t width, const float* pivot, double* sum,
             double* sum_squares) {
  SumPairs(rows, width, sum, sum_squares,
           [=]<typename V>(int64_t row, int64_t c, V& first, V& second) {
             // The one pass that only reads, and little: it would wait for memory.
             __builtin_prefetch(x + row * width + c + kPrefetch);
             first = Load<V>(x + row * width + c) - Load<V>(pivot + c);
             second = first * first;
           });
}

void AddRows(const double* x, int64_t rows, int64_t stride, int64_t width, double* sum) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < width; ++c) sum[c] += x[row * stride + c];
  }
}

void Normalise(const NormaliseArguments& a) {
  const int64_t width = a.width;
  const float* x = a.x;
  const float* residual = a.residual;
  float* y = a.y;
  WithFlags(residual != nullptr, a.relu, a.stream, [&]<bool kResidual, bool kRelu, bool kStream>() {
    ForEachElement(a.rows, width, [&]<typename V>(int64_t i, int64_t c) {
      V value = Affine<V>(Load<V>(x + i) - Load<V>(a.mean + c), a.factor + c, a.shift + c);
      if constexpr (kResidual) value += Load<V>(residual + i);
      if constexpr (kRelu) value = Positive<V>(value);
      Put<kStream>(y + i, value);
    });
    if constexpr (kStream) FinishStream();
  });
}

void BackwardReduce(const ReduceArguments& a) {
  const GradientArguments& in = a.in;
  WithGradient(in, a.masked_gradient != nullptr, [&]<Mask kMask, bool kSecond, bool kKeep>() {
    SumPairs(in.rows, in.width, a.sum_g, a.sum_g_x,
             [&]<typename V>(int64_t row, int64_t c, V& first, V& second) {
               const int64_t i = row * in.width + c;
               const V centred = Load<V>(in.x + i) - Load<V>(in.mean + c);
               first = MaskedGradient<V, kMask, kSecond>(in, i, c, centred);
               second = first * centred;
               if constexpr (kKeep) Store<V>(a.masked_gradient + i, first);
             });
  });
}

void BackwardApply(const ApplyArguments& a) {
  const GradientArguments& in = a.in;
  const int64_t width = in.width;
  WithGradient(in, a.addend != nullptr, [&]<Mask kMask, bool kSecond, bool kAddend>() {
    auto pass = [&]<bool kStream>() {
      ForEachElement(in.rows, width, [&]<typename V>(int64_t i, int64_t c) {
        const V centred = Load<V>(in.x + i) - Load<V>(in.mean + c);
        const V gradient = MaskedGradient<V, kMask, kSecond>(in, i, c, centred);
        const V rest = Load<V>(a.slope + c) * centred + Load<V>(a.offset + c);
        V value = Load<V>(in.factor + c) * gradient + rest;
        if constexpr (kAddend) value += Load<V>(a.addend + i);
        Put<kStream>(a.x_gradient + i, value);
      });
      if constexpr (kStream) FinishStream();
    };
    if (a.stream) {
      pass.template operator()<true>();
    } else {
      pass.template operator()<false>();
    }
  });
}

}  // namespace thinwire::cpu::THINWIRE_ISA
