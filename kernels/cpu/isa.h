// The vectorised kernels of the CPU: one source (kernels/cpu/isa/), compiled for each instruction
// set, picked at run time.
//
// All of them work on one thread and on plain pointers; kernels/cpu/*.cpp cut the work into chunks.
// `stream` asks for non-temporal stores of the output, which then must start at a multiple of 64
// bytes: they spare the read of the lines to be written, and pay where the output outgrows the
// last-level cache.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/update_arguments.h"

namespace thinwire::cpu {

/// Pointers may be null where an operand is optional.
struct NormaliseArguments {
  const float* x;
  const float* residual;  // optional
  float* y;
  const float *mean, *factor, *shift;  // [width]
  int64_t rows, width;
  bool relu;
  bool stream;
};

/// How the gradient g at a batch norm's output is formed: gradient (+ gradient2), where the mask
/// lets it pass.
struct GradientArguments {
  const float* gradient;
  const float* gradient2;  // optional
  const float* y;          // optional: mask by y > 0
  bool mask_from_x;        // mask by (x - mean) * factor + shift > 0
  const float* x;
  const float *mean, *factor, *shift;  // [width]
  int64_t rows, width;
};

struct ReduceArguments {
  GradientArguments in;
  float* masked_gradient;   // optional: receives g
  double *sum_g, *sum_g_x;  // [width]: g and g * (x - mean) are added
  bool stream;
};

struct ApplyArguments {
  GradientArguments in;
  const float* addend;          // optional
  const float *offset, *slope;  // [width]
  float* x_gradient;            // factor * g + offset + slope * (x - mean) (+ addend)
  bool stream;
};

/// factor * (gradient_scale * values + weight_decay * parameters) + added_factor * added; elements
/// from `decayed_size` on are not decayed, and their parameters not read; `added` may be null.
template <typename T>
struct InputArguments {
  const T *values, *parameters;
  T factor, gradient_scale, weight_decay;
  int64_t decayed_size;
  const T* added = nullptr;
  T added_factor = 1;
};

/// A message as one group's elements see it.
template <typename T>
struct SignPart {
  const uint32_t* words;
  T scale;
};

/// Several messages, each with its words and its scales; `group` is the elements'.
template <typename T>
struct SignParts {
  const uint32_t* const* words;
  const T* const* scales;
  int64_t count, group;

  T Scale(int64_t message) const { return scales[message][group]; }
};

/// Of the passes that pack signs; each reads what it needs. All are for elements of one group.
template <typename T>
struct PackArguments {
  InputArguments<T> input{};
  SignParts<T> messages{};
  SignPart<T> pending{};  // without words there is none
  bool settle = false;    // whether pending.scale is to be taken off the error
  T* state = nullptr;
  const T* target = nullptr;
  uint32_t* bits = nullptr;
  bool squares = false;
};

/// v = input + state_factor * state; without a state, the input.
template <typename T>
struct CollectArguments {
  InputArguments<T> input;
  const T* state;
  T state_factor;
};

/// Of pooling: where a row of pixels gets its values from.
struct PoolingArguments {
  int64_t height, width, channels, out_height, out_width;
  int64_t window_height, window_width, stride_height, stride_width;
  int64_t padding_height, padding_width;
  bool count_include_padding;
};

/// Of resizing 8-bit RGB: weights are fractions of 2^kResampleBits, none negative; 255 times it
/// leaves a bit of an int32.
inline constexpr int kResampleBits = 22;
struct ResampleTaps {
  const int32_t* starts;   // [outputs]: the first pixel that an output takes
  const int32_t* weights;  // [outputs, stride]; zero from `taps` on
  int64_t outputs, taps;
  int64_t stride;  // taps, or more, a multiple of 4
};

/// Kernels of the passes over flat memory that float32 and float64 share.
template <typename T>
struct FlatKernels {
  using Key = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

  void (*add)(const T* a, const T* b, bool relu, T* y, int64_t count, bool stream);
  void (*scale)(const T* x, T factor, T* y, int64_t count, bool stream);
  /// average = decay * average + complement * x
  void (*average)(const T* x, T decay, T complement, T* average, int64_t count);

  /// y = input + beta * y, for elements [begin, end); y is not read if beta is 0.
  void (*evaluate)(const InputArguments<T>&, T beta, T* y, int64_t begin, int64_t end);
  /// sum[i] = factor * (parts[i] + parts[part_size + i] + …), for elements [begin, end).
  void (*sum_parts)(const T* parts, int64_t size, int64_t part_size, double factor, T* sum,
                    int64_t begin, int64_t end);

  double (*sum_of_squares)(const T* x, int64_t count);
  /// Index of the first NaN or Inf, or -1.
  int64_t (*first_non_finite)(const T* x, int64_t count);

  void (*momentum_update)(const MomentumArguments<T>&, const T* g, T* buffer, T* x, int64_t count);
  void (*adam_update)(const AdamArguments<T>&, const T* g, T* m, T* v, T* v_max, T* x,
                      int64_t count);
  void (*rmsprop_update)(const RmspropArguments<T>&, const T* g, T* v, T* buffer, T* x,
                         int64_t count);
  void (*sign_update)(const SignArguments<T>&, const T* g, T* buffer, T* x, int64_t count);
  void (*frozen_adam_update)(const FrozenAdamArguments<T>&, const T* m, const T* v, T* x,
                             int64_t count);

  // The scaled sign (kernels/compression.h), over elements [begin, end): whole words of 32, or a
  // part of one. Those that pack write the bits of these elements and return their sum.
  double (*pack)(const PackArguments<T>&, int64_t begin, int64_t end);
  double (*pack_difference)(const PackArguments<T>&, int64_t begin, int64_t end);
  double (*pack_sum)(const PackArguments<T>&, int64_t begin, int64_t end);
  double (*pack_mean_difference)(const PackArguments<T>&, int64_t begin, int64_t end);
  double (*pack_mean_sum)(const PackArguments<T>&, int64_t begin, int64_t end);
  void (*mean_of_signs)(const SignParts<T>& messages, bool add, bool stream, T* y, int64_t begin,
                        int64_t end);
  void (*add_signs)(const SignPart<T>& message, T* y, int64_t begin, int64_t end);
  void (*settle_error)(T scale, T* error, int64_t begin, int64_t end);
  void (*add_signs_and_adam)(const SignPart<T>& message, const AdamArguments<T>&, T* estimate, T* m,
                             T* v, T* v_max, T* x, int64_t begin, int64_t end);

  /// Writes index and value of each v in [begin, end) whose bits without the sign, as an integer,
  /// are at least `threshold`, and returns their number. Behind them up to 64 bytes are written.
  int64_t (*collect_large)(const CollectArguments<T>&, Key threshold, int64_t begin, int64_t end,
                           int32_t* indices, T* values);
  /// values = v at the indices, with the bits that the other passes see.
  void (*gather)(const CollectArguments<T>&, const int32_t* indices, T* values, int64_t count);
};

struct IsaKernels {
  const char* name;

  void (*copy)(const float* x, float* y, int64_t count, bool stream);
  void (*relu)(const float* x, float* y, int64_t count, bool stream);
  void (*relu_backward)(const float* y, const float* y_gradient, float* x_gradient, int64_t count,
                        bool stream);
  /// Elements [first, first + count) of a tensor; pointers are to element `first`, a multiple of 4.
  void (*dropout)(const float* x, float rate, uint64_t seed, uint64_t step, int64_t first, float* y,
                  int64_t count);

  /// Adds x - pivot and its square, over [rows, width], to two sums [width].
  void (*moments)(const float* x, int64_t rows, int64_t width, const float* pivot, double* sum,
                  double* sum_squares);
  /// sum[c] += x[row * stride + c] over the rows; what `moments` and the like leave in chunks.
  void (*add_rows)(const double* x, int64_t rows, int64_t stride, int64_t width, double* sum);
  void (*normalise)(const NormaliseArguments& arguments);
  void (*backward_reduce)(const ReduceArguments& arguments);
  void (*backward_apply)(const ApplyArguments& arguments);

  /// One row of output pixels of one image. `image` is the whole image; `saved` may be null.
  void (*max_pooling_row)(const PoolingArguments& shape, const float* image, int64_t out_row,
                          float* y, uint8_t* saved);
  void (*average_pooling_row)(const PoolingArguments& shape, const float* image, int64_t out_row,
                              float* y);
  /// One row of input pixels. `y_gradient` and `saved` are of the whole image.
  void (*max_pooling_backward_row)(const PoolingArguments& shape, const float* y_gradient,
                                   const uint8_t* saved, int64_t row, float* x_gradient);
  void (*average_pooling_backward_row)(const PoolingArguments& shape, const float* y_gradient,
                                       int64_t row, float* x_gradient);
  /// y[c] = factor * sum over rows of x[row * width + c]
  void (*mean_rows)(const float* x, int64_t rows, int64_t width, float factor, float* y);

  /// A row of pixels [.., 3] to x.outputs pixels; none of `input_bytes` or beyond is read.
  void (*resample_row)(const ResampleTaps& x, const uint8_t* input, int64_t input_bytes,
                       uint8_t* output);
  /// output = sum over taps of weights[tap] * rows[tap], for `size` bytes.
  void (*mix_rows)(const int32_t* weights, int64_t taps, const uint8_t* const* rows, int64_t size,
                   uint8_t* output);

  FlatKernels<float> float32;
  FlatKernels<double> float64;
  template <typename T>
  const FlatKernels<T>& flat() const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return float32;
    } else {
      return float64;
    }
  }
};

/// The best set that this machine runs. The environment variable THINWIRE_ISA (portable, avx2,
/// avx512) asks for a lesser one, for tests and comparisons.
const IsaKernels& Isa();

/// All sets that this build has and this machine runs, best first; ends with a null pointer.
const IsaKernels* const* AvailableIsa();

/// Whether an output of a pass should be streamed: it is aligned, and what the pass touches
/// outgrows the last-level cache, so that nothing of it would be found there later.
bool ShouldStream(const void* output, int64_t bytes_touched);

}  // namespace thinwire::cpu
