// Pooling over windows, a row of pixels at a time, vectorised over channels. The backward passes
// make one row of input pixels from all windows that touch it, so that no two threads add to one
// pixel.
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

struct Range {
  int64_t begin, end;
};

/// Input coordinates of window `out`, cut at the image's border.
inline Range Window(int64_t out, int64_t stride, int64_t padding, int64_t window, int64_t size) {
  const int64_t begin = out * stride - padding, end = begin + window;
  return {begin < 0 ? 0 : begin, end > size ? size : end};
}

/// Windows that cover input coordinate `in`.
inline Range Covering(int64_t in, int64_t stride, int64_t padding, int64_t window,
                      int64_t out_size) {
  const int64_t last = (in + padding) / stride;
  const int64_t below = in + padding - window;  // the first window starts after it
  const int64_t first = below < 0 ? 0 : below / stride + 1;
  return {first, last + 1 < out_size ? last + 1 : out_size};
}

inline Range WindowRows(const PoolingArguments& s, int64_t out) {
  return Window(out, s.stride_height, s.padding_height, s.window_height, s.height);
}
inline Range WindowColumns(const PoolingArguments& s, int64_t out) {
  return Window(out, s.stride_width, s.padding_width, s.window_width, s.width);
}

/// One over what the average of a window divides by.
inline float AverageFactor(const PoolingArguments& s, int64_t out_row, int64_t out_column) {
  int64_t area = s.window_height * s.window_width;
  if (!s.count_include_padding) {
    const Range rows = WindowRows(s, out_row), columns = WindowColumns(s, out_column);
    area = (rows.end - rows.begin) * (columns.end - columns.begin);
  }
  return 1.0f / static_cast<float>(area);
}

constexpr int kMaxWindow = 256;  // positions fit a byte

/// A pixel of a window: its first element, from the window's first column on, and its position.
struct WindowPixel {
  int64_t offset;
  int32_t position;
};

/// What a comparison of two V gives, and the type of positions that go with it.
template <typename V>
struct Traits;
template <>
struct Traits<Floats> {
  using Position = Ints;
};
template <>
struct Traits<float> {
  using Position = int32_t;
};

// Written out, since g++ 12 converts vectors of bytes one by one.
inline void StorePositions(uint8_t* saved, Ints positions) {
#if defined(THINWIRE_ISA_avx512)
  const __m128i bytes = _mm512_maskz_cvtepi32_epi8(0xFFFF, (__m512i)positions);
  __builtin_memcpy(saved, &bytes, sizeof(bytes));
#elif defined(THINWIRE_ISA_avx2)
  const __m256i all = (__m256i)positions;
  const __m128i words =
      _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  _mm_storel_epi64((__m128i*)saved, _mm_packus_epi16(words, words));
#else
  const Bytes bytes = __builtin_convertvector(positions, Bytes);
  __builtin_memcpy(saved, &bytes, sizeof(bytes));
#endif
}
inline void StorePositions(uint8_t* saved, int32_t position) {
  *saved = static_cast<uint8_t>(position);
}

template <typename P>
inline P LoadPositions(const uint8_t* saved);
template <>
inline Ints LoadPositions<Ints>(const uint8_t* saved) {
#if defined(THINWIRE_ISA_avx512)
  return (Ints)_mm512_maskz_cvtepu8_epi32(0xFFFF, _mm_loadu_si128((const __m128i*)saved));
#elif defined(THINWIRE_ISA_avx2)
  return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)saved));
#else
  Bytes bytes;
  __builtin_memcpy(&bytes, saved, sizeof(bytes));
  return __builtin_convertvector(bytes, Ints);
#endif
}
template <>
inline int32_t LoadPositions<int32_t>(const uint8_t* saved) {
  return *saved;
}

}  // namespace

void MaxPoolingRow(const PoolingArguments& s, const float* image, int64_t out_row, float* y,
                   uint8_t* saved) {
  const Range rows = WindowRows(s, out_row);
  const int64_t origin_row = out_row * s.stride_height - s.padding_height;
  WindowPixel window[kMaxWindow];
  int count = 0;
  Range listed{0, 0};  // columns of the window that the list holds: all the same away from borders
  for (int64_t column = 0; column < s.out_width; ++column) {
    const int64_t origin_column = column * s.stride_width - s.padding_width;
    const Range cut = WindowColumns(s, column);
    const Range columns{cut.begin - origin_column, cut.end - origin_column};
    if (columns.begin != listed.begin || columns.end != listed.end) {
      listed = columns;
      count = 0;
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        for (int64_t w = columns.begin; w < columns.end; ++w) {
          const int64_t position = (h - origin_row) * s.window_width + w;
          window[count++] = {(h * s.width + w) * s.channels, static_cast<int32_t>(position)};
        }
      }
    }
    const float* origin = image + origin_column * s.channels;
    const int64_t out = column * s.channels;
    ForEach(s.channels, [&]<typename V>(int64_t c) {
      using P = typename Traits<V>::Position;
      V largest = Load<V>(origin + (window[0].offset + c));
      P position = P{} + window[0].position;
      for (int k = 1; k < count; ++k) {
        const V value = Load<V>(origin + (window[k].offset + c));
        // The first NaN wins and stays: no comparison with NaN holds.
        const auto keeps = (value <= largest) | (largest != largest);
        largest = keeps ? largest : value;
        position = keeps ? position : P(P{} + window[k].position);
      }
      Store<V>(y + out + c, largest);
      if (saved != nullptr) StorePositions(saved + out + c, position);
    });
  }
}

void AveragePoolingRow(const PoolingArguments& s, const float* image, int64_t out_row, float* y) {
  const Range rows = WindowRows(s, out_row);
  for (int64_t column = 0; column < s.out_width; ++column) {
    const Range columns = WindowColumns(s, column);
    const float factor = AverageFactor(s, out_row, column);
    ForEach(s.channels, [&]<typename V>(int64_t c) {
      V sum{};
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        for (int64_t w = columns.begin; w < columns.end; ++w) {
          sum += Load<V>(image + (h * s.width + w) * s.channels + c);
        }
      }
      Store<V>(y + column * s.channels + c, sum * factor);
    });
  }
}

void MaxPoolingBackwardRow(const PoolingArguments& s, const float* y_gradient, const uint8_t* saved,
                           int64_t row, float* x_gradient) {
  ForEach(s.width * s.channels, [=]<typename V>(int64_t i) { Store(x_gradient + i, V{}); });
  const Range out_rows =
      Covering(row, s.stride_height, s.padding_height, s.window_height, s.out_height);
  for (int64_t h = out_rows.begin; h < out_rows.end; ++h) {
    const int64_t window_row = row - (h * s.stride_height - s.padding_height);
    for (int64_t w = 0; w < s.out_width; ++w) {
      const int64_t origin_column = w * s.stride_width - s.padding_width;
      const Range columns = WindowColumns(s, w);
      const int64_t out = (h * s.out_width + w) * s.channels;
      const int64_t positions = window_row * s.window_width - origin_column;
      ForEach(s.channels, [&]<typename V>(int64_t c) {
        using P = typename Traits<V>::Position;
        const V gradient = Load<V>(y_gradient + out + c);
        const P winner = LoadPositions<P>(saved + out + c);
        for (int64_t column = columns.begin; column < columns.end; ++column) {
          float* pixel = x_gradient + column * s.channels + c;
          const P here = P{} + static_cast<int32_t>(positions + column);
          Store<V>(pixel, Load<V>(pixel) + Masked(winner == here, gradient));
        }
      });
    }
  }
}

void AveragePoolingBackwardRow(const PoolingArguments& s, const float* y_gradient, int64_t row,
                               float* x_gradient) {
  const Range out_rows =
      Covering(row, s.stride_height, s.padding_height, s.window_height, s.out_height);
  for (int64_t column = 0; column < s.width; ++column) {
    const Range out_columns =
        Covering(column, s.stride_width, s.padding_width, s.window_width, s.out_width);
    ForEach(s.channels, [&]<typename V>(int64_t c) {
      V sum{};
      for (int64_t h = out_rows.begin; h < out_rows.end; ++h) {
        for (int64_t w = out_columns.begin; w < out_columns.end; ++w) {
          sum +=
              AverageFactor(s, h, w) * Load<V>(y_gradient + (h * s.out_width + w) * s.channels + c);
        }
      }
      Store<V>(x_gradient + column * s.channels + c, sum);
    });
  }
}

void MeanRows(const float* x, int64_t rows, int64_t width, float factor, float* y) {
  constexpr int64_t kStrip = 2048;  // channels at a time, so that sums stay in the L1 cache
  alignas(64) float sums[kStrip];
  for (int64_t strip = 0; strip < width; strip += kStrip) {
    const int64_t strip_width = width - strip < kStrip ? width - strip : kStrip;
    for (int64_t c = 0; c < strip_width; ++c) sums[c] = 0;
    for (int64_t row = 0; row < rows; ++row) {
      ForEach(strip_width, [&]<typename V>(int64_t c) {
        Store<V>(sums + c, Load<V>(sums + c) + Load<V>(x + row * width + strip + c));
      });
    }
    ForEach(strip_width,
            [&]<typename V>(int64_t c) { Store<V>(y + strip + c, factor * Load<V>(sums + c)); });
  }
}

}  // namespace thinwire::cpu::THINWIRE_ISA
