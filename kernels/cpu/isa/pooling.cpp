// Pooling over windows, a row of pixels at a time, vectorised over channels. The backward passes
// gather: each input pixel visits the windows that cover it, so it is written once and nothing is
// added by two threads.
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

inline void StorePositions(uint8_t* saved, Ints positions) {
  const Bytes bytes = __builtin_convertvector(positions, Bytes);
  __builtin_memcpy(saved, &bytes, sizeof(bytes));
}
inline void StorePositions(uint8_t* saved, int32_t position) {
  *saved = static_cast<uint8_t>(position);
}

template <typename P>
inline P LoadPositions(const uint8_t* saved);
template <>
inline Ints LoadPositions<Ints>(const uint8_t* saved) {
  Bytes bytes;
  __builtin_memcpy(&bytes, saved, sizeof(bytes));
  return __builtin_convertvector(bytes, Ints);
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
  for (int64_t column = 0; column < s.out_width; ++column) {
    const Range columns = WindowColumns(s, column);
    const int64_t origin_column = column * s.stride_width - s.padding_width;
    const int64_t out = column * s.channels;
    ForEach(s.channels, [&]<typename V>(int64_t c) {
      using P = typename Traits<V>::Position;
      V largest{};
      P position{};
      bool first = true;
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        for (int64_t w = columns.begin; w < columns.end; ++w) {
          const V value = Load<V>(image + (h * s.width + w) * s.channels + c);
          const int32_t here =
              static_cast<int32_t>((h - origin_row) * s.window_width + (w - origin_column));
          if (first) {
            largest = value;
            position = P{} + here;
            first = false;
            continue;
          }
          // The first NaN wins and stays: no comparison with NaN holds.
          const auto keeps = (value <= largest) | (largest != largest);
          largest = keeps ? largest : value;
          position = keeps ? position : P(P{} + here);
        }
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
  const Range out_rows =
      Covering(row, s.stride_height, s.padding_height, s.window_height, s.out_height);
  for (int64_t column = 0; column < s.width; ++column) {
    const Range out_columns =
        Covering(column, s.stride_width, s.padding_width, s.window_width, s.out_width);
    ForEach(s.channels, [&]<typename V>(int64_t c) {
      using P = typename Traits<V>::Position;
      V sum{};
      for (int64_t h = out_rows.begin; h < out_rows.end; ++h) {
        const int64_t window_row = row - (h * s.stride_height - s.padding_height);
        for (int64_t w = out_columns.begin; w < out_columns.end; ++w) {
          const int64_t window_column = column - (w * s.stride_width - s.padding_width);
          const int64_t i = (h * s.out_width + w) * s.channels + c;
          const P here = P{} + static_cast<int32_t>(window_row * s.window_width + window_column);
          sum += LoadPositions<P>(saved + i) == here ? Load<V>(y_gradient + i) : V{};
        }
      }
      Store<V>(x_gradient + column * s.channels + c, sum);
    });
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

void MeanRows(const float* x, int64_t rows, int64_t stride, int64_t width, float factor, float* y) {
  constexpr int64_t kBlock = 16;  // rows summed on their own, which keeps rounding small
  ForEach(width, [&]<typename V>(int64_t c) {
    V sum{};
    for (int64_t begin = 0; begin < rows; begin += kBlock) {
      const int64_t end = begin + kBlock < rows ? begin + kBlock : rows;
      V even{}, odd{};
      int64_t row = begin;
      for (; row + 2 <= end; row += 2) {
        even += Load<V>(x + row * stride + c);
        odd += Load<V>(x + (row + 1) * stride + c);
      }
      if (row < end) even += Load<V>(x + row * stride + c);
      sum += even + odd;
    }
    Store<V>(y + c, sum * factor);
  });
}

}  // namespace thinwire::cpu::THINWIRE_ISA
