// Pooling over windows. The backward passes make each input pixel from all windows that cover it,
// so that no two threads add to one pixel.
#include "kernels/cuda/pixels.cuh"
#include "kernels/cuda/pooling.h"

namespace thinwire::cuda {
namespace {

struct Interval {
  int64_t begin, end;
};

/// Input coordinates of window `out`, cut at the image's border.
__device__ inline Interval Window(int64_t out, int64_t stride, int64_t padding, int64_t window,
                                  int64_t size) {
  const int64_t begin = out * stride - padding, end = begin + window;
  return {begin < 0 ? 0 : begin, end > size ? size : end};
}

/// Windows that cover input coordinate `in`.
__device__ inline Interval Covering(int64_t in, int64_t stride, int64_t padding, int64_t window,
                                    int64_t out_size) {
  const int64_t last = (in + padding) / stride;
  const int64_t below = in + padding - window;  // the first window starts after it
  const int64_t first = below < 0 ? 0 : below / stride + 1;
  return {first, last + 1 < out_size ? last + 1 : out_size};
}

struct Geometry {
  PoolingShape s;
  int64_t out_height, out_width;

  explicit Geometry(const PoolingShape& shape)
      : s(shape), out_height(shape.out_height()), out_width(shape.out_width()) {}

  __device__ Interval Rows(int64_t out) const {
    return Window(out, s.stride_height, s.padding_height, s.window_height, s.height);
  }
  __device__ Interval Columns(int64_t out) const {
    return Window(out, s.stride_width, s.padding_width, s.window_width, s.width);
  }
  __device__ Interval CoveringRows(int64_t in) const {
    return Covering(in, s.stride_height, s.padding_height, s.window_height, out_height);
  }
  __device__ Interval CoveringColumns(int64_t in) const {
    return Covering(in, s.stride_width, s.padding_width, s.window_width, out_width);
  }
  __device__ int64_t InputAt(const Pixel& p, int64_t row, int64_t column) const {
    return ((p.image * s.height + row) * s.width + column) * s.channels + p.channel;
  }
  __device__ int64_t OutputAt(const Pixel& p, int64_t row, int64_t column) const {
    return ((p.image * out_height + row) * out_width + column) * s.channels + p.channel;
  }
  /// The number, within its window, of the pixel at input (row, column).
  __device__ int Position(int64_t out_row, int64_t out_column, int64_t row, int64_t column) const {
    return static_cast<int>((row - (out_row * s.stride_height - s.padding_height)) *
                                s.window_width +
                            column - (out_column * s.stride_width - s.padding_width));
  }
  /// One over what the average of a window divides by.
  __device__ float AverageFactor(int64_t out_row, int64_t out_column) const {
    int64_t area = s.window_height * s.window_width;
    if (!s.count_include_padding) {
      const Interval rows = Rows(out_row), columns = Columns(out_column);
      area = (rows.end - rows.begin) * (columns.end - columns.begin);
    }
    return 1.0f / static_cast<float>(area);
  }
};

template <typename T>
struct MaxForward {
  Geometry geometry;
  const T* x;
  T* y;
  uint8_t* saved;  // optional

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    const Interval rows = geometry.Rows(p.row), columns = geometry.Columns(p.column);
    auto largest = LoadNumbers<kWidth>(x + geometry.InputAt(p, rows.begin, columns.begin));
    Vector<uint8_t, kWidth> positions;
    const int first = geometry.Position(p.row, p.column, rows.begin, columns.begin);
#pragma unroll
    for (auto& position : positions.lanes) position = static_cast<uint8_t>(first);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        const auto values = LoadNumbers<kWidth>(x + geometry.InputAt(p, row, column));
        const int position = geometry.Position(p.row, p.column, row, column);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          // The first NaN wins and stays: no comparison with NaN holds.
          const float value = values.lanes[k], before = largest.lanes[k];
          if (value <= before || before != before) continue;
          largest.lanes[k] = value;
          positions.lanes[k] = static_cast<uint8_t>(position);
        }
      }
    }
    StoreNumbers<kWidth>(y + i, largest);
    if (saved != nullptr) Store<kWidth>(saved + i, positions);
  }
};

template <typename T>
struct MaxBackward {
  Geometry geometry;
  const T* y_gradient;
  const uint8_t* saved;
  T* x_gradient;

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    const Interval rows = geometry.CoveringRows(p.row),
                   columns = geometry.CoveringColumns(p.column);
    Vector<float, kWidth> sum{};
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        const int64_t out = geometry.OutputAt(p, row, column);
        const auto positions = Load<kWidth>(saved + out);
        const auto gradients = LoadNumbers<kWidth>(y_gradient + out);
        const int position = geometry.Position(row, column, p.row, p.column);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          if (positions.lanes[k] == position) sum.lanes[k] += gradients.lanes[k];
        }
      }
    }
    StoreNumbers<kWidth>(x_gradient + i, sum);
  }
};

template <typename T>
struct AverageForward {
  Geometry geometry;
  const T* x;
  T* y;

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    const Interval rows = geometry.Rows(p.row), columns = geometry.Columns(p.column);
    Vector<float, kWidth> sum{};
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        const auto values = LoadNumbers<kWidth>(x + geometry.InputAt(p, row, column));
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum.lanes[k] += values.lanes[k];
      }
    }
    const float factor = geometry.AverageFactor(p.row, p.column);
#pragma unroll
    for (float& value : sum.lanes) value *= factor;
    StoreNumbers<kWidth>(y + i, sum);
  }
};

template <typename T>
struct AverageBackward {
  Geometry geometry;
  const T* y_gradient;
  T* x_gradient;

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    const Interval rows = geometry.CoveringRows(p.row),
                   columns = geometry.CoveringColumns(p.column);
    Vector<float, kWidth> sum{};
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        const auto gradients = LoadNumbers<kWidth>(y_gradient + geometry.OutputAt(p, row, column));
        const float factor = geometry.AverageFactor(row, column);
#pragma unroll
        for (int k = 0; k < kWidth; ++k) sum.lanes[k] += factor * gradients.lanes[k];
      }
    }
    StoreNumbers<kWidth>(x_gradient + i, sum);
  }
};

class CudaPooling : public Pooling {
 public:
  CudaPooling(const Queue& queue, const PoolingShape& shape)
      : queue_(queue),
        geometry_(shape),
        input_{shape.batch, shape.height, shape.width, shape.channels},
        output_{shape.batch, shape.out_height(), shape.out_width(), shape.channels} {}

  int64_t saved_bytes() const override { return max() ? output_.Elements() : 0; }

  void Forward(ConstView x, View y, View saved) override {
    const bool aligned = AllAligned(x, y, saved);
    WithActivationType(x.type, [&]<typename T>() {
      if (max()) {
        ForEachPixel<T>("max_pooling", queue_, output_, aligned,
                        MaxForward<T>{geometry_, x.as<T>(), y.as<T>(), saved.as<uint8_t>()});
      } else {
        ForEachPixel<T>("average_pooling", queue_, output_, aligned,
                        AverageForward<T>{geometry_, x.as<T>(), y.as<T>()});
      }
    });
  }

  void Backward(ConstView y_gradient, ConstView saved, View x_gradient) override {
    const bool aligned = AllAligned(y_gradient, saved, x_gradient);
    WithActivationType(x_gradient.type, [&]<typename T>() {
      if (max()) {
        ForEachPixel<T>(
            "max_pooling_backward", queue_, input_, aligned,
            MaxBackward<T>{geometry_, y_gradient.as<T>(), saved.as<uint8_t>(), x_gradient.as<T>()});
      } else {
        ForEachPixel<T>("average_pooling_backward", queue_, input_, aligned,
                        AverageBackward<T>{geometry_, y_gradient.as<T>(), x_gradient.as<T>()});
      }
    });
  }

 private:
  bool max() const { return geometry_.s.kind == PoolingShape::Kind::kMax; }

  Queue queue_;
  Geometry geometry_;
  PixelGrid input_, output_;
};

/// A pixel of the grid is an image's mean.
template <typename T>
struct GlobalForward {
  const T* x;
  T* y;
  int64_t pixels, channels;
  float factor;

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    const T* image = x + p.image * pixels * channels + p.channel;
    Vector<float, kWidth> sum{};
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const auto values = LoadNumbers<kWidth>(image + pixel * channels);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sum.lanes[k] += values.lanes[k];
    }
#pragma unroll
    for (float& value : sum.lanes) value *= factor;
    StoreNumbers<kWidth>(y + i, sum);
  }
};

template <typename T>
struct GlobalBackward {
  const T* y_gradient;
  T* x_gradient;
  int64_t channels;
  float factor;

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    auto gradients = LoadNumbers<kWidth>(y_gradient + p.image * channels + p.channel);
#pragma unroll
    for (float& gradient : gradients.lanes) gradient *= factor;
    StoreNumbers<kWidth>(x_gradient + i, gradients);
  }
};

class CudaGlobalAveragePooling : public GlobalAveragePooling {
 public:
  CudaGlobalAveragePooling(const Queue& queue, const GlobalAveragePoolingShape& shape)
      : queue_(queue), shape_(shape), factor_(1.0f / static_cast<float>(shape.pixels)) {}

  void Forward(ConstView x, View y) override {
    WithActivationType(x.type, [&]<typename T>() {
      ForEachPixel<T>(
          "global_average_pooling", queue_, {shape_.batch, 1, 1, shape_.channels}, AllAligned(x, y),
          GlobalForward<T>{x.as<T>(), y.as<T>(), shape_.pixels, shape_.channels, factor_});
    });
  }

  void Backward(ConstView y_gradient, View x_gradient) override {
    WithActivationType(x_gradient.type, [&]<typename T>() {
      ForEachPixel<T>(
          "global_average_pooling_backward", queue_,
          {shape_.batch, 1, shape_.pixels, shape_.channels}, AllAligned(y_gradient, x_gradient),
          GlobalBackward<T>{y_gradient.as<T>(), x_gradient.as<T>(), shape_.channels, factor_});
    });
  }

 private:
  Queue queue_;
  GlobalAveragePoolingShape shape_;
  float factor_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<Pooling> MakeCudaPooling(const cuda::Queue& queue, const PoolingShape& shape) {
  CheckShape(shape);
  return std::make_unique<cuda::CudaPooling>(queue, shape);
}

std::unique_ptr<GlobalAveragePooling> MakeCudaGlobalAveragePooling(
    const cuda::Queue& queue, const GlobalAveragePoolingShape& shape) {
  CheckShape(shape);
  return std::make_unique<cuda::CudaGlobalAveragePooling>(queue, shape);
}

}  // namespace thinwire
