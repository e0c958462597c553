// Batch normalisation as two passes forward (moments; normalise) and two backward (sums; apply),
// each over chunks of rows. The second pass takes the chunks in the reverse order of the first, so
// that it begins with what is still in the caches.
#include "kernels/cpu/batch_norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

using cpu::Isa;

constexpr int64_t kMaxChunks = 64;
constexpr int64_t kMinChunkRows = 64;
constexpr int64_t kMinChunkElements = 16384;
constexpr int64_t kPivotRows = 16;
constexpr int64_t kChannelGrain = 64;

/// How [rows, channels] is walked. Narrow rows are merged: `merge` rows of C channels are one row
/// of merge * C, with each channel's parameters repeated, which fills vectors and keeps rows
/// aligned also for odd channel counts.
struct Layout {
  int64_t merge = 1;
  int64_t width = 0;       // merge * channels
  int64_t rows = 0;        // whole merged rows
  int64_t tail_width = 0;  // what is left: the beginning of one more row
  int64_t chunk_rows = 0, chunks = 0;

  explicit Layout(const BatchNormShape& shape) {
    constexpr int64_t wide = 256, vector = 16;
    if (shape.channels < wide) {
      merge = vector / std::gcd(vector, shape.channels);
      merge *= (wide + merge * shape.channels - 1) / (merge * shape.channels);
    }
    width = merge * shape.channels;
    rows = shape.rows / merge;
    tail_width = shape.rows % merge * shape.channels;
    const int64_t least = std::max(kMinChunkRows, kMinChunkElements / width);
    chunk_rows = std::max(least, (rows + kMaxChunks - 1) / kMaxChunks);
    chunks = std::max<int64_t>(1, (rows + chunk_rows - 1) / chunk_rows);
  }

  /// Calls function(first_element, rows, width) for what chunk `chunk` covers.
  template <typename Function>
  void ForChunk(int64_t chunk, const Function& function) const {
    const int64_t begin = chunk * chunk_rows, end = std::min(rows, begin + chunk_rows);
    if (begin < end) function(begin * width, end - begin, width);
    if (chunk == chunks - 1 && tail_width > 0) function(rows * width, 1, tail_width);
  }

  /// Calls function(chunk) for all chunks; each thread takes a range of them in order, or in
  /// reverse order.
  template <typename Function>
  void ForEachChunk(bool reverse, const Function& function) const {
    const int64_t threads = std::min<int64_t>(cpu::ThreadCount(), chunks);
    cpu::ParallelChunks(threads, [&](int64_t thread) {
      const int64_t begin = chunks * thread / threads, end = chunks * (thread + 1) / threads;
      for (int64_t i = begin; i < end; ++i) function(reverse ? begin + end - 1 - i : i);
    });
  }
};

/// Views of the workspace.
struct Scratch {
  float *mean, *factor, *shift, *offset, *slope;  // [width]
  double* sums;                                   // [chunks][2][width]

  static int64_t Bytes(const Layout& layout) {
    return layout.width * 5 * int64_t{sizeof(float)} + 64 +
           layout.chunks * 2 * layout.width * int64_t{sizeof(double)};
  }
  Scratch(View workspace, const Layout& layout) {
    const int64_t width = layout.width;
    mean = workspace.as<float>();
    factor = mean + width;
    shift = factor + width;
    offset = shift + width;
    slope = offset + width;
    const int64_t used = (5 * width * int64_t{sizeof(float)} + 63) / 64 * 64;
    sums = reinterpret_cast<double*>(workspace.as<std::byte>() + used);
  }
};

class CpuBatchNorm : public BatchNorm {
 public:
  CpuBatchNorm(Device& device, const BatchNormShape& shape)
      : device_(device), shape_(shape), layout_(shape), size_(shape.rows * shape.channels) {
    device.ReserveWorkspace(Scratch::Bytes(layout_));
  }

  void ForwardTraining(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                       View running_mean, View running_variance, View saved_mean,
                       View saved_inverse_deviation, View y) override {
    assert(x.size == size_ && y.size == size_ && bool(residual) == shape_.residual);
    if (shape_.rows == 0) return;
    const Scratch scratch(device_.workspace(), layout_);
    FindPivot(x.as<float>(), scratch.mean);
    layout_.ForEachChunk(false, [&](int64_t chunk) {
      double* sum = ZeroedSums(scratch, chunk);
      layout_.ForChunk(chunk, [&](int64_t first, int64_t rows, int64_t width) {
        Isa().moments(x.as<float>() + first, rows, width, scratch.mean, sum, sum + layout_.width);
      });
    });
    const double n = static_cast<double>(shape_.rows);
    ForEachChannel(scratch, [&](int64_t c, double sum, double sum_squares) {
      const double from_pivot = sum / n;
      const double mean = scratch.mean[c] + from_pivot;
      double variance = sum_squares / n - from_pivot * from_pivot;
      if (variance < 0) variance = 0;  // rounding; NaN stays
      saved_mean.as<float>()[c] = static_cast<float>(mean);
      saved_inverse_deviation.as<float>()[c] =
          static_cast<float>(1 / std::sqrt(variance + shape_.epsilon));
      const double unbiased = shape_.rows > 1 ? variance * n / (n - 1) : variance;
      const double momentum = shape_.momentum;
      float& moving_mean = running_mean.as<float>()[c];
      float& moving_variance = running_variance.as<float>()[c];
      moving_mean = static_cast<float>((1 - momentum) * moving_mean + momentum * mean);
      moving_variance = static_cast<float>((1 - momentum) * moving_variance + momentum * unbiased);
    });
    ExpandAffine(scratch, saved_mean, saved_inverse_deviation, scale, shift);
    Normalise(scratch, x, residual, y);
  }

  void ForwardInference(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                        ConstView running_mean, ConstView running_variance, View y) override {
    assert(x.size == size_ && y.size == size_ && bool(residual) == shape_.residual);
    if (shape_.rows == 0) return;
    const Scratch scratch(device_.workspace(), layout_);
    for (int64_t c = 0; c < shape_.channels; ++c) {
      const double deviation = std::sqrt(double{running_variance.as<float>()[c]} + shape_.epsilon);
      scratch.slope[c] = static_cast<float>(1 / deviation);
    }
    const ConstView inverse_deviation{scratch.slope, shape_.channels, DataType::kFloat32};
    ExpandAffine(scratch, running_mean, inverse_deviation, scale, shift);
    Normalise(scratch, x, residual, y);
  }

  void Backward(ConstView x, ConstView y, ConstView y_gradient, ConstView y_gradient2,
                ConstView scale, ConstView shift, ConstView saved_mean,
                ConstView saved_inverse_deviation, ConstView x_gradient_addend, View x_gradient,
                View residual_gradient, View scale_gradient, View shift_gradient) override {
    assert(x.size == size_ && y_gradient.size == size_ && x_gradient.size == size_);
    const Scratch scratch(device_.workspace(), layout_);
    ExpandAffine(scratch, saved_mean, saved_inverse_deviation, scale, shift);
    cpu::GradientArguments in{};
    in.x = x.as<float>();
    in.gradient = y_gradient.as<float>();
    in.gradient2 = y_gradient2.as<float>();
    in.y = shape_.relu && shape_.residual ? y.as<float>() : nullptr;
    in.mask_from_x = shape_.relu && !shape_.residual;
    in.mean = scratch.mean;
    in.factor = scratch.factor;
    in.shift = scratch.shift;

    layout_.ForEachChunk(false, [&](int64_t chunk) {
      double* sum = ZeroedSums(scratch, chunk);
      layout_.ForChunk(chunk, [&](int64_t first, int64_t rows, int64_t width) {
        cpu::ReduceArguments arguments{};
        arguments.in = At(in, first, rows, width);
        if (residual_gradient) arguments.masked_gradient = residual_gradient.as<float>() + first;
        arguments.sum_g = sum;
        arguments.sum_g_x = sum + layout_.width;
        Isa().backward_reduce(arguments);
      });
    });
    ForEachChannel(scratch, [&](int64_t c, double sum_g, double sum_g_x) {
      const double n = static_cast<double>(shape_.rows);
      const double inverse = saved_inverse_deviation.as<float>()[c];
      const double factor = scale.as<float>()[c] * inverse;
      scale_gradient.as<float>()[c] = static_cast<float>(sum_g_x * inverse);
      shift_gradient.as<float>()[c] = static_cast<float>(sum_g);
      scratch.offset[c] = static_cast<float>(-factor * sum_g / n);
      scratch.slope[c] = static_cast<float>(-factor * sum_g_x * inverse * inverse / n);
    });
    Repeat(scratch.offset);
    Repeat(scratch.slope);

    if (residual_gradient) {  // the masked sum has been stored: no need to form it again
      in.gradient = residual_gradient.as<float>();
      in.gradient2 = nullptr;
      in.y = nullptr;
      in.mask_from_x = false;
    }
    const int64_t operands =
        3 + (in.gradient2 != nullptr) + (in.y != nullptr) + bool(x_gradient_addend);
    const bool in_place = x_gradient.data == in.gradient || x_gradient.data == in.gradient2 ||
                          x_gradient.data == x_gradient_addend.data;
    const bool stream =
        !in_place && MayStream(x_gradient.data, operands * size_ * int64_t{sizeof(float)});
    layout_.ForEachChunk(true, [&](int64_t chunk) {
      layout_.ForChunk(chunk, [&](int64_t first, int64_t rows, int64_t width) {
        cpu::ApplyArguments arguments{};
        arguments.in = At(in, first, rows, width);
        if (x_gradient_addend) arguments.addend = x_gradient_addend.as<float>() + first;
        arguments.offset = scratch.offset;
        arguments.slope = scratch.slope;
        arguments.x_gradient = x_gradient.as<float>() + first;
        arguments.stream = stream;
        Isa().backward_apply(arguments);
      });
    });
  }

 private:
  double* ZeroedSums(const Scratch& scratch, int64_t chunk) const {
    double* sum = scratch.sums + chunk * 2 * layout_.width;
    std::fill(sum, sum + 2 * layout_.width, 0.0);
    return sum;
  }

  static cpu::GradientArguments At(cpu::GradientArguments in, int64_t first, int64_t rows,
                                   int64_t width) {
    in.x += first;
    in.gradient += first;
    if (in.gradient2 != nullptr) in.gradient2 += first;
    if (in.y != nullptr) in.y += first;
    in.rows = rows;
    in.width = width;
    return in;
  }

  /// A value near each channel's mean, from rows all over the batch: what sums are taken relative
  /// to, so that a large mean does not drown the variance.
  void FindPivot(const float* x, float* pivot) const {
    const int64_t count = std::min(kPivotRows, shape_.rows);
    std::fill(pivot, pivot + shape_.channels, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const float* row = x + i * shape_.rows / count * shape_.channels;
      for (int64_t c = 0; c < shape_.channels; ++c) {
        pivot[c] += row[c] / static_cast<float>(count);
      }
    }
    Repeat(pivot);
  }

  /// Calls function(channel, sum1, sum2) with the sums over all chunks.
  template <typename Function>
  void ForEachChannel(const Scratch& scratch, const Function& function) const {
    cpu::ParallelFor(shape_.channels, kChannelGrain, [&](int64_t begin, int64_t end) {
      double sum1[kChannelGrain] = {}, sum2[kChannelGrain] = {};
      for (int64_t chunk = 0; chunk < layout_.chunks; ++chunk) {
        const double* sums = scratch.sums + chunk * 2 * layout_.width;
        Isa().add_rows(sums + begin, layout_.merge, shape_.channels, end - begin, sum1);
        Isa().add_rows(sums + layout_.width + begin, layout_.merge, shape_.channels, end - begin,
                       sum2);
      }
      for (int64_t c = begin; c < end; ++c) function(c, sum1[c - begin], sum2[c - begin]);
    });
  }

  /// Copies values[0, channels) to the rest of the merged row.
  void Repeat(float* values) const {
    for (int64_t i = shape_.channels; i < layout_.width; ++i)
      values[i] = values[i - shape_.channels];
  }

  /// Fills scratch.mean, factor and shift. Forward and backward come here with the same numbers.
  void ExpandAffine(const Scratch& scratch, ConstView mean, ConstView inverse_deviation,
                    ConstView scale, ConstView shift) const {
    for (int64_t c = 0; c < shape_.channels; ++c) {
      scratch.mean[c] = mean.as<float>()[c];
      scratch.factor[c] = scale.as<float>()[c] * inverse_deviation.as<float>()[c];
      scratch.shift[c] = shift.as<float>()[c];
    }
    Repeat(scratch.mean);
    Repeat(scratch.factor);
    Repeat(scratch.shift);
  }

  /// Rows must also keep the alignment that streaming needs.
  bool MayStream(const void* output, int64_t bytes) const {
    return layout_.width % 16 == 0 && cpu::ShouldStream(output, bytes);
  }

  void Normalise(const Scratch& scratch, ConstView x, ConstView residual, View y) const {
    const int64_t bytes = (residual ? 3 : 2) * size_ * int64_t{sizeof(float)};
    const bool stream = x.data != y.data && residual.data != y.data && MayStream(y.data, bytes);
    layout_.ForEachChunk(true, [&](int64_t chunk) {
      layout_.ForChunk(chunk, [&](int64_t first, int64_t rows, int64_t width) {
        cpu::NormaliseArguments arguments{};
        arguments.x = x.as<float>() + first;
        if (residual) arguments.residual = residual.as<float>() + first;
        arguments.y = y.as<float>() + first;
        arguments.mean = scratch.mean;
        arguments.factor = scratch.factor;
        arguments.shift = scratch.shift;
        arguments.rows = rows;
        arguments.width = width;
        arguments.relu = shape_.relu;
        arguments.stream = stream;
        Isa().normalise(arguments);
      });
    });
  }

  Device& device_;
  const BatchNormShape shape_;
  const Layout layout_;
  const int64_t size_;
};

}  // namespace

std::unique_ptr<BatchNorm> MakeCpuBatchNorm(Device& device, const BatchNormShape& shape) {
  CheckShape(shape);
  return std::make_unique<CpuBatchNorm>(device, shape);
}

}  // namespace thinwire
