// F(4x4, 3x3) with the interpolation points 0, ±a, ±b and infinity, and F(2x2, 3x3) (Lavin and
// Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). a = 5/8 and b = 3/2 instead of
// the customary 1 and 2 are exact in binary and halve the rounding error; pairs ±p share their even
// and odd parts.
//
// With stride 2 the outer two taps of a row meet the even pixels and the middle tap meets the odd
// ones: the first are F(4, 2) with 5 products for 4 outputs, the second 4 plain products.
//
// Vectors run over channels. A tile's pixels are reached through pointers, so that pixels outside
// the image are pointers to zeros (or to a sink) and border tiles need no code of their own.
#include <utility>  // integer_sequence, a type without functions

#include "kernels/cpu/isa/gemm.h"
#include "kernels/cpu/isa/vector.h"
#include "kernels/cpu/winograd_kernels.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

// The matrices of each form in one dimension, applied to vectors of lanes. A transformed row has
// kPositions values, a transformed filter kFilters; from kFilters - 1 on positions share the last.

struct Tiles4 {
  static constexpr const char* kName = "winograd 4x4";
  static constexpr int kTile = 4, kStep = 4, kSize = 6, kGradient = 4, kPositions = 6, kFilters = 6;
  static constexpr float kA = 0.625f, kB = 1.5f;
  static constexpr float kA2 = kA * kA, kB2 = kB * kB;
  // 1 / Π_{j ≠ i} (p_i - p_j), the factors of G.
  static constexpr float kFactor0 = 1 / (kA2 * kB2);
  static constexpr float kFactorA = 1 / (2 * kA2 * (kA2 - kB2));
  static constexpr float kFactorB = 1 / (2 * kB2 * (kB2 - kA2));

  /// v = Bᵀ d.
  static void Input(const Floats* d, Floats* v) {
    v[0] = kA2 * kB2 * d[0] - (kA2 + kB2) * d[2] + d[4];
    const Floats even_a = d[4] - kB2 * d[2], odd_a = d[3] - kB2 * d[1];
    v[1] = even_a + kA * odd_a;
    v[2] = even_a - kA * odd_a;
    const Floats even_b = d[4] - kA2 * d[2], odd_b = d[3] - kA2 * d[1];
    v[3] = even_b + kB * odd_b;
    v[4] = even_b - kB * odd_b;
    v[5] = kA2 * kB2 * d[1] - (kA2 + kB2) * d[3] + d[5];
  }
  /// z = A y.
  static void Gradient(const Floats* y, Floats* z) {
    z[0] = y[0];
    const Floats even_a = y[0] + kA2 * y[2], odd_a = y[1] + kA2 * y[3];
    z[1] = even_a + kA * odd_a;
    z[2] = even_a - kA * odd_a;
    const Floats even_b = y[0] + kB2 * y[2], odd_b = y[1] + kB2 * y[3];
    z[3] = even_b + kB * odd_b;
    z[4] = even_b - kB * odd_b;
    z[5] = y[3];
  }
  /// y = Aᵀ m.
  static void Output(const Floats* m, Floats* y) {
    const Floats sum_a = m[1] + m[2], sum_b = m[3] + m[4];
    const Floats odd_a = kA * (m[1] - m[2]), odd_b = kB * (m[3] - m[4]);
    y[0] = m[0] + (sum_a + sum_b);
    y[1] = odd_a + odd_b;
    y[2] = kA2 * sum_a + kB2 * sum_b;
    y[3] = kA2 * odd_a + (kB2 * odd_b + m[5]);
  }
  /// u = G w.
  static void Filter(const Floats* w, Floats* u) {
    u[0] = kFactor0 * w[0];
    const Floats even_a = w[0] + kA2 * w[2], odd_a = kA * w[1];
    u[1] = kFactorA * (even_a + odd_a);
    u[2] = kFactorA * (even_a - odd_a);
    const Floats even_b = w[0] + kB2 * w[2], odd_b = kB * w[1];
    u[3] = kFactorB * (even_b + odd_b);
    u[4] = kFactorB * (even_b - odd_b);
    u[5] = w[2];
  }
  /// w = Gᵀ m.
  static void FilterGradient(const Floats* m, Floats* w) {
    const Floats sum_a = kFactorA * (m[1] + m[2]), sum_b = kFactorB * (m[3] + m[4]);
    const Floats odd_a = kFactorA * (m[1] - m[2]), odd_b = kFactorB * (m[3] - m[4]);
    w[0] = kFactor0 * m[0] + (sum_a + sum_b);
    w[1] = kA * odd_a + kB * odd_b;
    w[2] = kA2 * sum_a + (kB2 * sum_b + m[5]);
  }
};

/// With the points 0, ±1 and infinity.
struct Tiles2 {
  static constexpr const char* kName = "winograd 2x2";
  static constexpr int kTile = 2, kStep = 2, kSize = 4, kGradient = 2, kPositions = 4, kFilters = 4;
  static void Input(const Floats* d, Floats* v) {
    v[0] = d[0] - d[2];
    v[1] = d[2] + d[1];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }
  static void Gradient(const Floats* y, Floats* z) {
    z[0] = y[0];
    z[1] = y[0] + y[1];
    z[2] = y[0] - y[1];
    z[3] = y[1];
  }
  static void Output(const Floats* m, Floats* y) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) + m[3];
  }
  static void Filter(const Floats* w, Floats* u) {
    const Floats even = 0.5f * (w[0] + w[2]), odd = 0.5f * w[1];
    u[0] = w[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = w[2];
  }
  static void FilterGradient(const Floats* m, Floats* w) {
    const Floats sum = 0.5f * (m[1] + m[2]);
    w[0] = m[0] + sum;
    w[1] = 0.5f * (m[1] - m[2]);
    w[2] = sum + m[3];
  }
};

/// Points 0, ±a, b and infinity for the two outer taps; position 5 + i holds the middle tap's i-th.
struct Stride2 {
  static constexpr const char* kName = "winograd stride 2";
  static constexpr int kTile = 4, kStep = 8, kSize = 9, kGradient = 4, kPositions = 9, kFilters = 6;
  static constexpr float kA = 0.75f, kB = 2.0f, kA2 = kA * kA;
  static constexpr float kFactor0 = 1 / (kA2 * kB);
  static constexpr float kFactorPlus = 1 / (2 * kA2 * (kA - kB));
  static constexpr float kFactorMinus = 1 / (2 * kA2 * (-kA - kB));
  static constexpr float kFactorB = 1 / (kB * (kB * kB - kA2));

  /// v = Bᵀ d of F(4, 2), for every kStride-th of d.
  template <int kStride>
  static void Interpolate(const Floats* d, Floats* v) {
    const Floats d0 = d[0], d1 = d[kStride], d2 = d[2 * kStride], d3 = d[3 * kStride],
                 d4 = d[4 * kStride];
    const Floats difference = d3 - kA2 * d1;  // of (x² - a²)
    v[0] = difference - kB * (d2 - kA2 * d0);
    const Floats even = d3 - kB * d2, odd = kA * (d2 - kB * d1);
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = difference;
    v[4] = (d4 - kA2 * d2) - kB * difference;
  }
  static void Input(const Floats* d, Floats* v) {
    Interpolate<2>(d, v);
    v[5] = d[1];
    v[6] = d[3];
    v[7] = d[5];
    v[8] = d[7];
  }
  static void Gradient(const Floats* y, Floats* z) {
    const Floats even = y[0] + kA2 * y[2], odd = kA * (y[1] + kA2 * y[3]);
    z[0] = y[0];
    z[1] = even + odd;
    z[2] = even - odd;
    z[3] = y[0] + kB * (y[1] + kB * (y[2] + kB * y[3]));
    z[4] = y[3];
    z[5] = y[0];
    z[6] = y[1];
    z[7] = y[2];
    z[8] = y[3];
  }
  /// y = Aᵀ m of F(4, 2).
  static void Evaluate(const Floats* m, Floats* y) {
    const Floats sum = m[1] + m[2], odd = kA * (m[1] - m[2]);
    y[0] = m[0] + (sum + m[3]);
    y[1] = odd + kB * m[3];
    y[2] = kA2 * sum + kB * kB * m[3];
    y[3] = kA2 * odd + (kB * kB * kB * m[3] + m[4]);
  }
  static void Output(const Floats* m, Floats* y) {
    Evaluate(m, y);
    y[0] += m[5];
    y[1] += m[6];
    y[2] += m[7];
    y[3] += m[8];
  }
  static void Filter(const Floats* w, Floats* u) {
    u[0] = kFactor0 * w[0];
    u[1] = kFactorPlus * (w[0] + kA * w[2]);
    u[2] = kFactorMinus * (w[0] - kA * w[2]);
    u[3] = kFactorB * (w[0] + kB * w[2]);
    u[4] = w[2];
    u[5] = w[1];
  }
  static void FilterGradient(const Floats* m, Floats* w) {
    const Floats plus = kFactorPlus * m[1], minus = kFactorMinus * m[2], b = kFactorB * m[3];
    w[0] = kFactor0 * m[0] + (plus + minus) + b;
    w[1] = m[5];
    w[2] = kA * (plus - minus) + (kB * b + m[4]);
  }
};

/// Pixel 2 i of the padded input gathers the outer taps of output gradients i - 1 and i, pixel
/// 2 i + 1 the middle tap of output gradient i. Tiles start at a pixel of the image itself, which
/// is an even or an odd one of the padded input.
template <bool kOdd>
struct Stride2Backward : Stride2 {
  static constexpr int kTile = 8, kStep = 4, kSize = 5;
  static void Input(const Floats* d, Floats* v) {
    Interpolate<1>(d, v);
    const Floats* middle = kOdd ? d : d + 1;
    v[5] = middle[0];
    v[6] = middle[1];
    v[7] = middle[2];
    v[8] = middle[3];
  }
  static void Output(const Floats* m, Floats* x) {
    Floats outer[4];
    Evaluate(m, outer);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      x[2 * i + kOdd] = outer[i];
      x[2 * i + !kOdd] = m[5 + i];
    }
  }
};

/// out = T in Tᵀ for a kIn x kIn tile whose elements load(i, j) gives; store(i * kOut + j, value)
/// takes the kOut x kOut results.
template <int kIn, int kOut, void (*kApply)(const Floats*, Floats*), typename LoadElement,
          typename StoreElement>
inline __attribute__((always_inline)) void TransformTile(const LoadElement& load,
                                                         const StoreElement& store) {
  Floats half[kOut][kIn];
#pragma GCC unroll 9
  for (int j = 0; j < kIn; ++j) {
    Floats column[kIn], result[kOut];
#pragma GCC unroll 9
    for (int i = 0; i < kIn; ++i) column[i] = load(i, j);
    kApply(column, result);
#pragma GCC unroll 9
    for (int i = 0; i < kOut; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 9
  for (int i = 0; i < kOut; ++i) {
    Floats result[kOut];
    kApply(half[i], result);
#pragma GCC unroll 9
    for (int j = 0; j < kOut; ++j) store(i * kOut + j, result[j]);
  }
}

/// Pointers to the kSize x kSize pixels of a tile; `outside` stands for those outside the image.
template <int kStep, int kSize, typename Pointer>
inline void FindPixels(const WinogradGrid& grid, Pointer images, Pointer outside, int64_t tile,
                       Pointer* pixels) {
  const int64_t j = tile % grid.tile_columns, row = tile / grid.tile_columns;
  const int64_t i = row % grid.tile_rows, n = row / grid.tile_rows;
  const int64_t top = kStep * i - grid.padding_height, left = kStep * j - grid.padding_width;
  const Pointer image = images + n * grid.height * grid.width * grid.channels;
  for (int64_t y = 0; y < kSize; ++y) {
    for (int64_t x = 0; x < kSize; ++x) {
      const bool inside =
          top + y >= 0 && top + y < grid.height && left + x >= 0 && left + x < grid.width;
      pixels[y * kSize + x] =
          inside ? image + ((top + y) * grid.width + left + x) * grid.channels : outside;
    }
  }
}

/// Tiles of kIn x kIn pixels to kOut x kOut positions.
template <int kStep, int kIn, int kOut, void (*kApply)(const Floats*, Floats*)>
void TransformImages(const WinogradGrid& grid, const float* images, const float* zeros,
                     int64_t first, int64_t count, float* v, const WinogradStrides& strides) {
  for (int64_t tile = 0; tile < count; ++tile) {
    const float* pixels[kIn * kIn];
    FindPixels<kStep, kIn>(grid, images, zeros, first + tile, pixels);
    float* out = v + tile * strides.tile;
    for (int64_t c = 0; c < grid.channels; c += kLanes) {
      // Stores go to many places: without their lines in the L1 cache each waits for the L2 cache.
      const float* next =
          c + kLanes < grid.channels ? out + strides.block : v + (tile + 1) * strides.tile;
      for (int p = 0; p < kOut * kOut; ++p) {
        __builtin_prefetch(next + p * strides.position, 1, 3);
      }
      TransformTile<kIn, kOut, kApply>(
          [&](int i, int j) { return Load<Floats>(pixels[i * kIn + j] + c); },
          [&](int p, Floats x) { Store(out + p * strides.position, x); });
      out += strides.block;
    }
  }
}

template <typename Form>
void Output(const WinogradGrid& grid, const float* m, const WinogradStrides& strides,
            const float* bias, float* sink, int64_t begin, int64_t end, int64_t first,
            int64_t count, float* images) {
  constexpr int kIn = Form::kPositions, kTile = Form::kTile;
  for (int64_t tile = 0; tile < count; ++tile) {
    float* pixels[kTile * kTile];
    FindPixels<kTile, kTile>(grid, images, sink, first + tile, pixels);
    const float* in = m + tile * strides.tile;
    for (int64_t c = begin; c < end; c += kLanes) {
      const Floats shift = Load<Floats>(bias + c);
      TransformTile<kIn, kTile, Form::Output>(
          [&](int i, int j) { return Load<Floats>(in + (i * kIn + j) * strides.position); },
          [&](int p, Floats x) { Store<Floats>(pixels[p] + c, x + shift); });
      in += strides.block;
    }
  }
}

/// Lane l of the result: a[l] and b[l - kStep], or a[l + kStep] and b[l] if kHigh, in turns of
/// kStep.
template <int kStep, bool kHigh, int... kLane>
inline Floats Interleave(Floats a, Floats b, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(
      a, b,
      (kLane & kStep ? kLanes + kLane - (kHigh ? 0 : kStep) : kLane + (kHigh ? kStep : 0))...);
}

/// Transposes a square of kLanes vectors: exchanges blocks of 1, 2, 4, ... off the diagonal.
template <int kStep = 1>
inline void Transpose(Floats* rows) {
  if constexpr (kStep < kLanes) {
    constexpr std::make_integer_sequence<int, kLanes> lanes;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & kStep) continue;
      const Floats a = rows[i], b = rows[i + kStep];
      rows[i] = Interleave<kStep, false>(a, b, lanes);
      rows[i + kStep] = Interleave<kStep, true>(a, b, lanes);
    }
    Transpose<2 * kStep>(rows);
  }
}

template <typename Form>
void Filter(const float* filter, int64_t out_channels, int64_t in_channels, bool backward,
            int64_t begin, int64_t end, float* u, int64_t position_stride) {
  const int64_t depth = backward ? out_channels : in_channels;
  for (int64_t column = begin; column < end; column += kLanes) {
    for (int64_t block = 0; block < depth; block += kLanes) {
      Floats taps[9][kLanes];  // [tap][depth], vectors over columns
      for (int tap = 0; tap < 9; ++tap) {
        for (int l = 0; l < kLanes; ++l) {
          taps[tap][l] =
              Load<Floats>(filter + (backward ? ((block + l) * 9 + 8 - tap) * in_channels + column
                                              : ((column + l) * 9 + tap) * in_channels + block));
        }
        if (!backward) Transpose(taps[tap]);
      }
      for (int l = 0; l < kLanes; ++l) {
        TransformTile<3, Form::kFilters, Form::Filter>(
            [&](int i, int j) { return taps[i * 3 + j][l]; },
            [&](int p, Floats x) { Store(u + p * position_stride, x); });
        u += kLanes;
      }
    }
  }
}

template <typename Form>
void FilterGradient(const float* m, int64_t position_stride, int64_t in_channels, int64_t begin,
                    int64_t end, float* filter_gradient) {
  constexpr int kIn = Form::kFilters;
  for (int64_t k = begin; k < end; ++k) {
    for (int64_t c = 0; c < in_channels; c += kLanes) {
      const float* in = m + k * in_channels + c;
      float* out = filter_gradient + k * 9 * in_channels + c;
      TransformTile<kIn, 3, Form::FilterGradient>(
          [&](int i, int j) { return Load<Floats>(in + (i * kIn + j) * position_stride); },
          [&](int p, Floats x) { Store(out + p * in_channels, x); });
    }
  }
}

void Multiply(const GemmArguments& g) { MultiplyMatrices<kLanes>(g); }
void MultiplyTransposed(const GemmArguments& g) { MultiplyMatrices<1>(g); }

template <typename Form>
struct FilterOf {
  uint8_t filter[Form::kPositions * Form::kPositions] = {};
  constexpr FilterOf() {
    for (int p = 0; p < Form::kPositions * Form::kPositions; ++p) {
      const int row = p / Form::kPositions, column = p % Form::kPositions;
      filter[p] =
          static_cast<uint8_t>((row < Form::kFilters ? row : Form::kFilters - 1) * Form::kFilters +
                               (column < Form::kFilters ? column : Form::kFilters - 1));
    }
  }
};
template <typename Form>
constexpr FilterOf<Form> kFilterOf;

template <typename Form>
constexpr WinogradKernels kKernels = {
    .name = Form::kName,
    .tile = Form::kTile,
    .positions = Form::kPositions* Form::kPositions,
    .filters = Form::kFilters* Form::kFilters,
    .filter_of = kFilterOf<Form>.filter,
    .lanes = kLanes,
    .rows = kGemmRows,
    .input = TransformImages<Form::kStep, Form::kSize, Form::kPositions, Form::Input>,
    .gradient = TransformImages<Form::kGradient, Form::kGradient, Form::kPositions, Form::Gradient>,
    .output = Output<Form>,
    .filter = Filter<Form>,
    .filter_gradient = FilterGradient<Form>,
    .multiply = Multiply,
    .multiply_transposed = MultiplyTransposed,
};

}  // namespace

const WinogradKernels& Winograd(WinogradForm form) {
  switch (form) {
    case WinogradForm::k2x2:
      return kKernels<Tiles2>;
    case WinogradForm::kStride2:
      return kKernels<Stride2>;
    case WinogradForm::kStride2BackwardEven:
      return kKernels<Stride2Backward<false>>;
    case WinogradForm::kStride2BackwardOdd:
      return kKernels<Stride2Backward<true>>;
    case WinogradForm::k4x4:
      break;
  }
  return kKernels<Tiles4>;
}

}  // namespace thinwire::cpu::THINWIRE_ISA
