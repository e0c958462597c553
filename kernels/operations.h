// The operations that a device offers: planned once for one shape, then called every step.
//
// Activations are NHWC, filters KRSC, all float32 unless a shape's `type` is bfloat16. Then
// activations and their gradients are bfloat16, and so are filters, weights and their biases;
// statistics, batch norm's parameters, the gradients of all parameters and what is computed on the
// way stay float32, and a result is rounded once, when it is stored. Calls are enqueued on the
// device's one in-order queue and allocate nothing: scratch memory comes from the device's shared
// workspace, which planning has made large enough. Results do not depend on the number of threads
// unless a comment says so. Operands never overlap unless a comment allows it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/view.h"

namespace thinwire {

/// The gradients that will be asked of an operation. Others are not planned and take no workspace;
/// to ask for one nevertheless is an Error.
struct GradientUse {
  bool data = true;     // of the input: nobody reads that of images
  bool weights = true;  // of filter or weight, and bias; inference needs neither
};

/// Geometry of a 2-D convolution, and what is asked of it.
struct ConvolutionShape {
  int64_t batch = 0;
  int64_t height = 0, width = 0, in_channels = 0;  // input, NHWC
  int64_t out_channels = 0;
  int64_t kernel_height = 1, kernel_width = 1;
  int64_t stride_height = 1, stride_width = 1;
  int64_t padding_height = 0, padding_width = 0;  // symmetric, zeros
  int64_t groups = 1;
  bool bias = false;
  GradientUse gradients = {};
  DataType type = DataType::kFloat32;

  int64_t out_height() const {
    return (height + 2 * padding_height - kernel_height) / stride_height + 1;
  }
  int64_t out_width() const {
    return (width + 2 * padding_width - kernel_width) / stride_width + 1;
  }
  int64_t input_size() const { return batch * height * width * in_channels; }
  int64_t output_size() const { return batch * out_height() * out_width() * out_channels; }
  /// Filter is [out_channels, kernel_height, kernel_width, in_channels / groups].
  int64_t filter_size() const {
    return out_channels * kernel_height * kernel_width * (in_channels / groups);
  }
};

class Convolution {
 public:
  virtual ~Convolution() = default;
  /// output = input * filter (+ bias). `bias` is [out_channels], empty if the shape has none.
  virtual void Forward(ConstView input, ConstView filter, ConstView bias, View output) = 0;
  /// Overwrites input_gradient.
  virtual void BackwardData(ConstView output_gradient, ConstView filter, View input_gradient) = 0;
  /// Overwrites filter_gradient (and bias_gradient, empty if the shape has no bias).
  virtual void BackwardWeights(ConstView input, ConstView output_gradient, View filter_gradient,
                               View bias_gradient) = 0;
  /// The algorithm chosen for each direction, for reports: "winograd 4x4", "oneDNN brgconv:…";
  /// "none" where there is nothing to do.
  virtual const char* algorithm(int direction) const = 0;  // 0 forward, 1 data, 2 weights
};

/// y = x Wᵀ + b with x [batch, in_features], W [out_features, in_features].
struct LinearShape {
  int64_t batch = 0, in_features = 0, out_features = 0;
  bool bias = true;
  GradientUse gradients = {};
  DataType type = DataType::kFloat32;
};

class Linear {
 public:
  virtual ~Linear() = default;
  virtual void Forward(ConstView input, ConstView weight, ConstView bias, View output) = 0;
  virtual void BackwardData(ConstView output_gradient, ConstView weight, View input_gradient) = 0;
  virtual void BackwardWeights(ConstView input, ConstView output_gradient, View weight_gradient,
                               View bias_gradient) = 0;
};

/// Batch normalisation over the last dimension of [rows, channels], with an optional fused
/// residual add and ReLU: y = relu(scale * (x - mean) / sqrt(variance + epsilon) + shift +
/// residual).
struct BatchNormShape {
  int64_t rows = 0;  // N * H * W
  int64_t channels = 0;
  bool residual = false;
  bool relu = false;
  float epsilon = 1e-5f;
  float momentum = 0.1f;  // running = (1 - momentum) * running + momentum * batch statistic
  DataType type = DataType::kFloat32;  // of x, y, residual and their gradients
};

class BatchNorm {
 public:
  virtual ~BatchNorm() = default;
  /// Normalises with the batch's own mean and biased variance, updates the running statistics
  /// (with the unbiased variance, as PyTorch does) and saves mean and 1/sqrt(variance + epsilon),
  /// [channels] each, for Backward. `residual` is empty unless the shape has one.
  virtual void ForwardTraining(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                               View running_mean, View running_variance, View saved_mean,
                               View saved_inverse_deviation, View y) = 0;
  virtual void ForwardInference(ConstView x, ConstView residual, ConstView scale, ConstView shift,
                                ConstView running_mean, ConstView running_variance, View y) = 0;
  /// The gradient that arrives at y is y_gradient, plus y_gradient2 where that is given (two
  /// consumers). With ReLU it is masked by y > 0. The masked sum is the gradient of the residual
  /// and is written to residual_gradient where that is given; it may be the same memory as
  /// y_gradient or y_gradient2. x_gradient receives the gradient of x, plus `x_gradient_addend`
  /// where that is given (another consumer's gradient of x); x_gradient may be the same memory as
  /// y_gradient, y_gradient2 or the addend, but not as residual_gradient.
  /// Overwrites scale_gradient and shift_gradient.
  /// `y` is read only with ReLU and residual, and may be empty otherwise: without a residual the
  /// mask follows from x, scale and shift, which saves a pass over y.
  virtual void Backward(ConstView x, ConstView y, ConstView y_gradient, ConstView y_gradient2,
                        ConstView scale, ConstView shift, ConstView saved_mean,
                        ConstView saved_inverse_deviation, ConstView x_gradient_addend,
                        View x_gradient, View residual_gradient, View scale_gradient,
                        View shift_gradient) = 0;
};

/// Max or average pooling over windows. Average divides by the window's full area
/// (`count_include_padding`) or by the number of elements inside the image.
struct PoolingShape {
  enum class Kind : uint8_t { kMax, kAverage };
  Kind kind = Kind::kMax;
  int64_t batch = 0, height = 0, width = 0, channels = 0;
  int64_t window_height = 2, window_width = 2;
  int64_t stride_height = 2, stride_width = 2;
  int64_t padding_height = 0, padding_width = 0;
  bool count_include_padding = true;
  DataType type = DataType::kFloat32;

  int64_t out_height() const {
    return (height + 2 * padding_height - window_height) / stride_height + 1;
  }
  int64_t out_width() const {
    return (width + 2 * padding_width - window_width) / stride_width + 1;
  }
};

class Pooling {
 public:
  virtual ~Pooling() = default;
  /// Bytes that Forward saves for Backward (max pooling: the position in the window, one byte an
  /// output; ties to the first in row order). 0 for average pooling.
  virtual int64_t saved_bytes() const = 0;
  /// `saved` may be empty when no Backward follows.
  virtual void Forward(ConstView x, View y, View saved) = 0;
  virtual void Backward(ConstView y_gradient, ConstView saved, View x_gradient) = 0;
};

/// Mean over all pixels: [batch, pixels, channels] -> [batch, channels].
struct GlobalAveragePoolingShape {
  int64_t batch = 0, pixels = 0, channels = 0;
  DataType type = DataType::kFloat32;
};

class GlobalAveragePooling {
 public:
  virtual ~GlobalAveragePooling() = default;
  virtual void Forward(ConstView x, View y) = 0;
  virtual void Backward(ConstView y_gradient, View x_gradient) = 0;
};

/// He et al.'s parameter-free shortcut ("option A"): every `stride`-th pixel in both directions,
/// (out_channels - channels) / 2 zero channels in front and the rest behind.
struct PadShortcutShape {
  int64_t batch = 0, height = 0, width = 0, channels = 0, out_channels = 0, stride = 2;
  DataType type = DataType::kFloat32;

  int64_t out_height() const { return (height + stride - 1) / stride; }
  int64_t out_width() const { return (width + stride - 1) / stride; }
};

class PadShortcut {
 public:
  virtual ~PadShortcut() = default;
  virtual void Forward(ConstView x, View y) = 0;
  virtual void Backward(ConstView y_gradient, View x_gradient) = 0;
};

/// Softmax cross-entropy over [batch, classes] with label smoothing, and top-k counts.
struct LossShape {
  int64_t batch = 0, classes = 0;
  float label_smoothing = 0.0f;
  DataType type = DataType::kFloat32;  // of logits and their gradient; the loss is float64
  int64_t results = 1;                 // of so many runs, the last ones, are kept
};

/// What one batch yields. Rows with a negative label are ignored everywhere (padding of a last,
/// uneven batch). A row counts as correct in the top k if fewer than k classes have a larger logit
/// or an equal one at a lower index.
struct LossResult {
  double loss_sum = 0;  // over the counted rows
  int64_t rows = 0;     // counted rows
  int64_t correct_top1 = 0;
  int64_t correct_top5 = 0;  // top min(5, classes)
};

class Loss {
 public:
  virtual ~Loss() = default;
  /// `labels` is int32 [batch]. `logits_gradient`, unless empty, receives
  /// gradient_scale * d(loss of the row)/d(logits), zero for ignored rows. The result stays on the
  /// device until ReadResults. Non-finite logits give a non-finite loss and count as wrong.
  ///
  /// Of mixed images (ImageMix) a row's loss is own_label times that of its label, and the rest
  /// that of its partner's, row batch - 1 - i; 1 takes no partner. The top k are counted by the
  /// heavier label, the own one of two equals. A row whose partner is ignored has its own label
  /// alone.
  virtual void Run(ConstView logits, ConstView labels, float own_label, float gradient_scale,
                   View logits_gradient) = 0;
  /// Waits for the queue; the results of the last `count` runs, of which the shape keeps so many,
  /// in their order.
  virtual std::vector<LossResult> ReadResults(int64_t count) = 0;
  LossResult ReadResult() { return ReadResults(1).front(); }
};

/// Of results that are kept in a ring, the last `count` in order. @param next The next one's place.
std::vector<LossResult> LastResults(std::span<const LossResult> ring, int64_t next, int64_t count);

/// @throws Error if there is no such operation, whatever the device.
void CheckShape(const ConvolutionShape& shape);
void CheckShape(const LinearShape& shape);
void CheckShape(const BatchNormShape& shape);
void CheckShape(const PoolingShape& shape);
void CheckShape(const GlobalAveragePoolingShape& shape);
void CheckShape(const PadShortcutShape& shape);
void CheckShape(const LossShape& shape);

/// For operations that are asked for a gradient. @throws Error unless they were made for it.
void CheckDataGradient(const GradientUse& gradients);
void CheckWeightGradient(const GradientUse& gradients);

}  // namespace thinwire
