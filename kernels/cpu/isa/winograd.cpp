// F(4x4, 3x3) with the interpolation points 0, ±a, ±b and infinity (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016). a = 5/8 and b = 3/2 instead of the
// customary 1 and 2 are exact in binary and halve the rounding error; pairs ±p share their even and
// odd parts.
//
// Vectors run over channels. A tile's pixels are reached through pointers, so that pixels outside
// the image are pointers to zeros (or to a sink) and border tiles need no code of their own.
#include <utility>  // integer_sequence, a type without functions

#include "kernels/cpu/isa/gemm.h"
#include "kernels/cpu/isa/vector.h"
#include "kernels/cpu/winograd_kernels.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

// The matrices of F(kTile x kTile, 3x3), applied to vectors of lanes.
template <int kTile>
struct Matrices;

template <>
struct Matrices<4> {
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
template <>
struct Matrices<2> {
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

/// out = T in Tᵀ for a kIn x kIn tile whose elements load(i, j) gives; store(i * kOut + j, value)
/// takes the kOut x kOut results.
template <int kIn, int kOut, void (*kApply)(const Floats*, Floats*), typename LoadElement,
          typename StoreElement>
inline __attribute__((always_inline)) void TransformTile(const LoadElement& load,
                                                         const StoreElement& store) {
  Floats half[kOut][kIn];
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) {
    Floats column[kIn], result[kOut];
#pragma GCC unroll 6
    for (int i = 0; i < kIn; ++i) column[i] = load(i, j);
    kApply(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < kOut; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < kOut; ++i) {
    Floats result[kOut];
    kApply(half[i], result);
#pragma GCC unroll 6
    for (int j = 0; j < kOut; ++j) store(i * kOut + j, result[j]);
  }
}

/// Pointers to the kSize x kSize pixels of a tile that starts kTile pixels after the last one;
/// `outside` stands for those outside the image.
template <int kTile, int kSize, typename Pointer>
inline void FindPixels(const WinogradGrid& grid, Pointer images, Pointer outside, int64_t tile,
                       Pointer* pixels) {
  const int64_t j = tile % grid.tile_columns, row = tile / grid.tile_columns;
  const int64_t i = row % grid.tile_rows, n = row / grid.tile_rows;
  const int64_t top = kTile * i - grid.padding_height, left = kTile * j - grid.padding_width;
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

/// Tiles of kIn x kIn pixels to (kTile + 2) x (kTile + 2) positions.
template <int kTile, int kIn, void (*kApply)(const Floats*, Floats*)>
void TransformImages(const WinogradGrid& grid, const float* images, const float* zeros,
                     int64_t first, int64_t count, float* v, const WinogradStrides& strides) {
  constexpr int kOut = kTile + 2;
  for (int64_t tile = 0; tile < count; ++tile) {
    const float* pixels[kIn * kIn];
    FindPixels<kTile, kIn>(grid, images, zeros, first + tile, pixels);
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

template <int kTile>
void Output(const WinogradGrid& grid, const float* m, const WinogradStrides& strides,
            const float* bias, float* sink, int64_t begin, int64_t end, int64_t first,
            int64_t count, float* images) {
  constexpr int kIn = kTile + 2;
  for (int64_t tile = 0; tile < count; ++tile) {
    float* pixels[kTile * kTile];
    FindPixels<kTile, kTile>(grid, images, sink, first + tile, pixels);
    const float* in = m + tile * strides.tile;
    for (int64_t c = begin; c < end; c += kLanes) {
      const Floats shift = Load<Floats>(bias + c);
      TransformTile<kIn, kTile, Matrices<kTile>::Output>(
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

template <int kTile>
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
        TransformTile<3, kTile + 2, Matrices<kTile>::Filter>(
            [&](int i, int j) { return taps[i * 3 + j][l]; },
            [&](int p, Floats x) { Store(u + p * position_stride, x); });
        u += kLanes;
      }
    }
  }
}

template <int kTile>
void FilterGradient(const float* m, int64_t position_stride, int64_t in_channels, int64_t begin,
                    int64_t end, float* filter_gradient) {
  constexpr int kIn = kTile + 2;
  for (int64_t k = begin; k < end; ++k) {
    for (int64_t c = 0; c < in_channels; c += kLanes) {
      const float* in = m + k * in_channels + c;
      float* out = filter_gradient + k * 9 * in_channels + c;
      TransformTile<kIn, 3, Matrices<kTile>::FilterGradient>(
          [&](int i, int j) { return Load<Floats>(in + (i * kIn + j) * position_stride); },
          [&](int p, Floats x) { Store(out + p * in_channels, x); });
    }
  }
}

void Multiply(const GemmArguments& g) { MultiplyMatrices<kLanes>(g); }
void MultiplyTransposed(const GemmArguments& g) { MultiplyMatrices<1>(g); }

template <int kTile>
constexpr WinogradKernels kKernels = {
    .tile = kTile,
    .positions = (kTile + 2) * (kTile + 2),
    .lanes = kLanes,
    .rows = kGemmRows,
    .input = TransformImages<kTile, kTile + 2, Matrices<kTile>::Input>,
    .gradient = TransformImages<kTile, kTile, Matrices<kTile>::Gradient>,
    .output = Output<kTile>,
    .filter = Filter<kTile>,
    .filter_gradient = FilterGradient<kTile>,
    .multiply = Multiply,
    .multiply_transposed = MultiplyTransposed,
};

}  // namespace

const WinogradKernels& Winograd(int64_t tile) { return tile == 2 ? kKernels<2> : kKernels<4>; }

}  // namespace thinwire::cpu::THINWIRE_ISA
