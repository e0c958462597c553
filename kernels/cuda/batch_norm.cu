// Batch normalisation as two passes forward (moments; normalise) and two backward (sums; apply).
// The block that finishes last with its channels turns their sums into what the second pass wants.
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/column_sums.cuh"

namespace thinwire::cuda {
namespace {

constexpr int kFloatTerms = 16;  // added in float32, before float64 takes over

struct Sums {
  double first = 0, second = 0;

  __device__ void Add(const volatile Sums& other) {
    first += other.first;
    second += other.second;
  }
};

/// Sums of float32 terms, a few of them in float32.
template <int kWidth>
class Accumulator {
 public:
  __device__ void Add(int k, float first, float second) {
    first_[k] += first;
    second_[k] += second;
  }
  __device__ void FinishRow() {
    if (++rows_ == kFloatTerms) Flush();
  }
  __device__ void Flush() {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      sums[k].first += static_cast<double>(first_[k]);
      sums[k].second += static_cast<double>(second_[k]);
      first_[k] = second_[k] = 0;
    }
    rows_ = 0;
  }

  Sums sums[kWidth];

 private:
  float first_[kWidth] = {}, second_[kWidth] = {};
  int rows_ = 0;
};

template <typename T>
struct MomentsArguments {
  const T* x;
  float *running_mean, *running_variance, *saved_mean, *saved_inverse_deviation;
  float epsilon, momentum;
};

/// Sums relative to the first row, so that a large mean does not drown the variance.
template <int kWidth, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    MomentsKernel(ColumnGrid grid, ReductionMemory<Sums> memory, MomentsArguments<T> a) {
  const int64_t channel = grid.Channel();
  Accumulator<kWidth> accumulator;
  if (channel < grid.channels) {
    const auto pivot = LoadNumbers<kWidth>(a.x + channel);
    for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
      const auto x = LoadNumbers<kWidth>(a.x + row * grid.channels + channel);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const float difference = x.lanes[k] - pivot.lanes[k];
        accumulator.Add(k, difference, difference * difference);
      }
      accumulator.FinishRow();
    }
    accumulator.Flush();
  }
  FinishColumns<kWidth>(grid, memory, accumulator.sums, [&](int64_t c, const Sums& sums) {
    const double n = static_cast<double>(grid.rows);
    const double from_pivot = sums.first / n;
    const double mean = static_cast<double>(LoadNumbers<1>(a.x + c).lanes[0]) + from_pivot;
    double variance = sums.second / n - from_pivot * from_pivot;
    if (variance < 0) variance = 0;  // rounding; NaN stays
    a.saved_mean[c] = static_cast<float>(mean);
    a.saved_inverse_deviation[c] =
        static_cast<float>(1 / sqrt(variance + static_cast<double>(a.epsilon)));
    const double unbiased = grid.rows > 1 ? variance * n / (n - 1) : variance;
    const double momentum = static_cast<double>(a.momentum);
    a.running_mean[c] = static_cast<float>((1 - momentum) * static_cast<double>(a.running_mean[c]) +
                                           momentum * mean);
    a.running_variance[c] = static_cast<float>(
        (1 - momentum) * static_cast<double>(a.running_variance[c]) + momentum * unbiased);
  });
}

/// What a channel's values become before residual and ReLU, the same forward and backward.
struct Affine {
  float mean, factor, shift;
  __device__ float operator()(float x) const { return fmaf(x - mean, factor, shift); }
};

template <typename T>
struct NormaliseArguments {
  const T *x, *residual;
  const float *mean, *inverse_deviation;  // or, in inference, the variance
  const float *scale, *shift;
  T* y;
  float epsilon;
  bool relu, inference;
};

template <int kWidth, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    NormaliseKernel(ColumnGrid grid, NormaliseArguments<T> a) {
  const int64_t channel = grid.Channel();
  if (channel >= grid.channels) return;
  Affine affine[kWidth];
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    const int64_t c = channel + k;
    float inverse = a.inverse_deviation[c];
    if (a.inference) {
      inverse = static_cast<float>(
          1 / sqrt(static_cast<double>(inverse) + static_cast<double>(a.epsilon)));
    }
    affine[k] = {a.mean[c], a.scale[c] * inverse, a.shift[c]};
  }
  for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
    const int64_t i = row * grid.channels + channel;
    auto values = LoadNumbers<kWidth>(a.x + i);
    Vector<float, kWidth> residual{};
    if (a.residual != nullptr) residual = LoadNumbers<kWidth>(a.residual + i);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      float value = affine[k](values.lanes[k]);
      if (a.residual != nullptr) value += residual.lanes[k];
      values.lanes[k] = a.relu && value < 0 ? 0.0f : value;  // NaN stays
    }
    StoreNumbers<kWidth>(a.y + i, values);
  }
}

template <typename T>
struct BackwardArguments {
  const T *x, *y;  // y only where the mask is taken from it
  const T *y_gradient, *y_gradient2, *addend;
  const float *scale, *shift, *mean, *inverse_deviation;
  T *x_gradient, *residual_gradient;
  float *scale_gradient, *shift_gradient;
  float *offset, *slope;  // [channels]: from the first pass to the second
  bool mask_from_x;

  template <int kWidth>
  __device__ Vector<float, kWidth> Gradient(int64_t i, const Vector<float, kWidth>& values,
                                            const Affine (&affine)[kWidth]) const {
    auto g = LoadNumbers<kWidth>(y_gradient + i);
    if (y_gradient2 != nullptr) {
      const auto second = LoadNumbers<kWidth>(y_gradient2 + i);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) g.lanes[k] += second.lanes[k];
    }
    if (y != nullptr) {
      const auto output = LoadNumbers<kWidth>(y + i);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) g.lanes[k] = output.lanes[k] > 0 ? g.lanes[k] : 0.0f;
    } else if (mask_from_x) {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        g.lanes[k] = affine[k](values.lanes[k]) > 0 ? g.lanes[k] : 0.0f;
      }
    }
    return g;
  }

  template <int kWidth>
  __device__ void SetAffine(int64_t channel, Affine (&affine)[kWidth]) const {
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const int64_t c = channel + k;
      affine[k] = {mean[c], scale[c] * inverse_deviation[c], shift[c]};
    }
  }
};

template <int kWidth, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    BackwardReduceKernel(ColumnGrid grid, ReductionMemory<Sums> memory, BackwardArguments<T> a) {
  const int64_t channel = grid.Channel();
  Accumulator<kWidth> accumulator;
  if (channel < grid.channels) {
    Affine affine[kWidth];
    a.SetAffine(channel, affine);
    for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
      const int64_t i = row * grid.channels + channel;
      const auto values = LoadNumbers<kWidth>(a.x + i);
      const auto g = a.template Gradient<kWidth>(i, values, affine);
      if (a.residual_gradient != nullptr) StoreNumbers<kWidth>(a.residual_gradient + i, g);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        accumulator.Add(k, g.lanes[k], g.lanes[k] * (values.lanes[k] - affine[k].mean));
      }
      accumulator.FinishRow();
    }
    accumulator.Flush();
  }
  FinishColumns<kWidth>(grid, memory, accumulator.sums, [&](int64_t c, const Sums& sums) {
    const double n = static_cast<double>(grid.rows);
    const double inverse = static_cast<double>(a.inverse_deviation[c]);
    const double factor = static_cast<double>(a.scale[c]) * inverse;
    a.scale_gradient[c] = static_cast<float>(sums.second * inverse);
    a.shift_gradient[c] = static_cast<float>(sums.first);
    a.offset[c] = static_cast<float>(-factor * sums.first / n);
    a.slope[c] = static_cast<float>(-factor * sums.second * inverse * inverse / n);
  });
}

/// x_gradient = factor * g + offset + slope * (x - mean) (+ addend)
template <int kWidth, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    BackwardApplyKernel(ColumnGrid grid, BackwardArguments<T> a) {
  const int64_t channel = grid.Channel();
  if (channel >= grid.channels) return;
  Affine affine[kWidth];
  a.SetAffine(channel, affine);
  const auto offset = LoadNumbers<kWidth>(a.offset + channel);
  const auto slope = LoadNumbers<kWidth>(a.slope + channel);
  for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
    const int64_t i = row * grid.channels + channel;
    const auto values = LoadNumbers<kWidth>(a.x + i);
    auto g = a.template Gradient<kWidth>(i, values, affine);
    Vector<float, kWidth> addend{};
    if (a.addend != nullptr) addend = LoadNumbers<kWidth>(a.addend + i);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const float line = fmaf(slope.lanes[k], values.lanes[k] - affine[k].mean, offset.lanes[k]);
      const float gradient = fmaf(affine[k].factor, g.lanes[k], line);
      g.lanes[k] = a.addend != nullptr ? gradient + addend.lanes[k] : gradient;
    }
    StoreNumbers<kWidth>(a.x_gradient + i, g);
  }
}

template <typename T>
class CudaBatchNorm : public BatchNorm {
 public:
  CudaBatchNorm(Device& device, const Queue& queue, const BatchNormShape& shape)
      : device_(device), queue_(queue), shape_(shape) {
    tickets_ = device.Allocate(TicketBytes(queue, shape.rows, shape.channels));
    affine_ = device.Allocate(2 * shape.channels * static_cast<int64_t>(sizeof(float)));
    device.ReserveWorkspace(PartialBytes<Sums>(queue, shape.rows, shape.channels));
  }

  void ForwardTraining(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                       View running_mean, View running_variance, View saved_mean,
                       View saved_inverse_deviation, View y) override {
    if (shape_.rows == 0) return;
    const MomentsArguments<T> moments{x.as<T>(),
                                      running_mean.as<float>(),
                                      running_variance.as<float>(),
                                      saved_mean.as<float>(),
                                      saved_inverse_deviation.as<float>(),
                                      shape_.epsilon,
                                      shape_.momentum};
    const ColumnGrid grid = GridOf(AllAligned(x));
    Launch("batch_norm_moments", queue_, grid.Blocks(),
           grid.width > 1 ? MomentsKernel<kFullWidth<T>, T> : MomentsKernel<1, T>, grid, Memory(),
           moments);
    Normalise(x, residual, scale, shift, saved_mean, saved_inverse_deviation, false, y);
  }

  void ForwardInference(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                        ConstView running_mean, ConstView running_variance, View y) override {
    if (shape_.rows == 0) return;
    Normalise(x, residual, scale, shift, running_mean, running_variance, true, y);
  }

  void Backward(ConstView x, ConstView y, ConstView y_gradient, ConstView y_gradient2,
                ConstView scale, ConstView shift, ConstView saved_mean,
                ConstView saved_inverse_deviation, ConstView x_gradient_addend, View x_gradient,
                View residual_gradient, View scale_gradient, View shift_gradient) override {
    const ConstView mask = shape_.relu && shape_.residual ? y : ConstView{};
    BackwardArguments<T> a{.x = x.as<T>(),
                           .y = mask.as<T>(),
                           .y_gradient = y_gradient.as<T>(),
                           .y_gradient2 = y_gradient2.as<T>(),
                           .addend = x_gradient_addend.as<T>(),
                           .scale = scale.as<float>(),
                           .shift = shift.as<float>(),
                           .mean = saved_mean.as<float>(),
                           .inverse_deviation = saved_inverse_deviation.as<float>(),
                           .x_gradient = x_gradient.as<T>(),
                           .residual_gradient = residual_gradient.as<T>(),
                           .scale_gradient = scale_gradient.as<float>(),
                           .shift_gradient = shift_gradient.as<float>(),
                           .offset = affine_.view().as<float>(),
                           .slope = affine_.view().as<float>() + shape_.channels,
                           .mask_from_x = shape_.relu && !shape_.residual};
    const ColumnGrid grid = GridOf(AllAligned(x, mask, y_gradient, y_gradient2, x_gradient_addend,
                                              x_gradient, residual_gradient));
    const bool wide = grid.width > 1;
    Launch("batch_norm_backward_reduce", queue_, grid.Blocks(),
           wide ? BackwardReduceKernel<kFullWidth<T>, T> : BackwardReduceKernel<1, T>, grid,
           Memory(), a);
    if (residual_gradient) {  // the masked sum has been stored: no need to form it again
      a.y_gradient = a.residual_gradient;
      a.y_gradient2 = nullptr;
      a.y = nullptr;
      a.mask_from_x = false;
    }
    if (shape_.rows == 0) return;
    Launch("batch_norm_backward_apply", queue_, grid.Blocks(),
           wide ? BackwardApplyKernel<kFullWidth<T>, T> : BackwardApplyKernel<1, T>, grid, a);
  }

 private:
  ColumnGrid GridOf(bool aligned) const {
    return ColumnGrid(queue_, shape_.rows, shape_.channels, aligned ? kFullWidth<T> : 1,
                      kMaxRowBlocks);
  }
  ReductionMemory<Sums> Memory() const {
    return {device_.workspace().as<Sums>(), static_cast<unsigned*>(tickets_.data())};
  }

  void Normalise(ConstView x, ConstView residual, ConstView scale, ConstView shift, ConstView mean,
                 ConstView deviation, bool inference, View y) const {
    const NormaliseArguments<T> a{.x = x.as<T>(),
                                  .residual = residual.as<T>(),
                                  .mean = mean.as<float>(),
                                  .inverse_deviation = deviation.as<float>(),
                                  .scale = scale.as<float>(),
                                  .shift = shift.as<float>(),
                                  .y = y.as<T>(),
                                  .epsilon = shape_.epsilon,
                                  .relu = shape_.relu,
                                  .inference = inference};
    const ColumnGrid grid = GridOf(AllAligned(x, residual, y));
    Launch("batch_norm_normalise", queue_, grid.Blocks(),
           grid.width > 1 ? NormaliseKernel<kFullWidth<T>, T> : NormaliseKernel<1, T>, grid, a);
  }

  Device& device_;
  Queue queue_;
  BatchNormShape shape_;
  Buffer tickets_, affine_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<BatchNorm> MakeCudaBatchNorm(Device& device, const cuda::Queue& queue,
                                             const BatchNormShape& shape) {
  CheckShape(shape);
  if (shape.type == DataType::kBFloat16) {
    return std::make_unique<cuda::CudaBatchNorm<BFloat16>>(device, queue, shape);
  }
  return std::make_unique<cuda::CudaBatchNorm<float>>(device, queue, shape);
}

}  // namespace thinwire
