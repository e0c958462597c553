#include "tests/layers/float64_network.h"

#include <algorithm>

#include "layers/batch_norm.h"
#include "layers/elementwise.h"
#include "layers/global_average_pooling.h"
#include "tests/layers/tape.h"

namespace thinwire {
namespace {

using Scalars = std::vector<Tape::Scalar>;

class Evaluator {
 public:
  Evaluator(const std::map<std::string, std::vector<float>>& tensors, int64_t batch,
            const Float64Options& options)
      : batch_(batch), options_(options) {
    for (const auto& [name, values] : tensors) tensors_[name] = Constants(values);
  }

  Scalars Constants(const std::vector<float>& values) {
    Scalars scalars;
    for (const float value : values) scalars.push_back(tape.Constant(value));
    return scalars;
  }

  Scalars Run(const Layer& layer, const std::vector<const Scalars*>& inputs,
              const ImageShape& input_shape) {
    const Scalars& x = *inputs[0];
    if (auto* convolution = dynamic_cast<const ConvolutionLayer*>(&layer)) {
      return Convolve(layer.name(), convolution->shape(), x);
    }
    if (auto* linear = dynamic_cast<const LinearLayer*>(&layer)) {
      return Multiply(layer.name(), linear->shape(), x);
    }
    if (auto* norm = dynamic_cast<const BatchNormLayer*>(&layer)) {
      return Normalize(layer.name(), norm->shape(), x, inputs.size() > 1 ? inputs[1] : nullptr);
    }
    if (auto* pooling = dynamic_cast<const PoolingLayer*>(&layer)) return Pool(pooling->shape(), x);
    if (auto* pad = dynamic_cast<const PadShortcutLayer*>(&layer)) return Pad(pad->shape(), x);
    if (dynamic_cast<const GlobalAveragePoolingLayer*>(&layer)) return Average(input_shape, x);
    Scalars y = x;
    if (dynamic_cast<const ReluLayer*>(&layer)) {
      for (Tape::Scalar& element : y) element = tape.Relu(element);
    } else if (dynamic_cast<const AddLayer*>(&layer)) {
      for (size_t i = 0; i < y.size(); ++i) y[i] = tape.Add(y[i], (*inputs[1])[i]);
    } else if (dynamic_cast<const DropoutLayer*>(&layer) && options_.training) {
      const std::vector<float>& mask = options_.dropout_masks.at(layer.name());
      for (size_t i = 0; i < y.size(); ++i) y[i] = tape.Scale(y[i], mask.at(i));
    }
    return y;  // flatten: as it is
  }

  /// Sum of the row losses.
  Tape::Scalar Loss(const Scalars& logits, const std::vector<int32_t>& labels, int64_t classes) {
    Tape::Scalar sum = tape.Constant(0);
    const double off = options_.label_smoothing / static_cast<double>(classes);
    for (size_t row = 0; row < labels.size(); ++row) {
      if (labels[row] < 0) continue;
      const auto first = row * static_cast<size_t>(classes);
      Tape::Scalar total = tape.Constant(0), weighted = tape.Constant(0);
      for (size_t k = 0; k < static_cast<size_t>(classes); ++k) {
        total = tape.Add(total, tape.Exp(logits[first + k]));
        const bool is_label = k == static_cast<size_t>(labels[row]);
        const double target = off + (is_label ? 1 - options_.label_smoothing : 0.0);
        weighted = tape.Add(weighted, tape.Scale(logits[first + k], target));
      }
      sum = tape.Add(sum, tape.Add(tape.Log(total), tape.Scale(weighted, -1)));
    }
    return sum;
  }

  const std::map<std::string, Scalars>& tensors() const { return tensors_; }

  Tape tape;
  std::map<std::string, std::vector<double>> running_values;

 private:
  Scalars Convolve(const std::string& name, const ConvolutionShape& s, const Scalars& x) {
    const Scalars& filter = tensors_.at(name + ".weight");
    const int64_t in_group = s.in_channels / s.groups, out_group = s.out_channels / s.groups;
    Scalars y;
    for (int64_t n = 0; n < batch_; ++n) {
      for (int64_t row = 0; row < s.out_height(); ++row) {
        for (int64_t column = 0; column < s.out_width(); ++column) {
          for (int64_t k = 0; k < s.out_channels; ++k) {
            Tape::Scalar sum =
                s.bias ? tensors_.at(name + ".bias")[static_cast<size_t>(k)] : tape.Constant(0);
            for (int64_t r = 0; r < s.kernel_height; ++r) {
              for (int64_t q = 0; q < s.kernel_width; ++q) {
                const int64_t h = row * s.stride_height + r - s.padding_height;
                const int64_t w = column * s.stride_width + q - s.padding_width;
                if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
                for (int64_t c = 0; c < in_group; ++c) {
                  const int64_t channel = k / out_group * in_group + c;
                  const int64_t at = ((n * s.height + h) * s.width + w) * s.in_channels + channel;
                  const int64_t f = ((k * s.kernel_height + r) * s.kernel_width + q) * in_group + c;
                  sum = tape.Add(sum, tape.Multiply(x[static_cast<size_t>(at)],
                                                    filter[static_cast<size_t>(f)]));
                }
              }
            }
            y.push_back(sum);
          }
        }
      }
    }
    return y;
  }

  Scalars Multiply(const std::string& name, const LinearShape& s, const Scalars& x) {
    const Scalars& weight = tensors_.at(name + ".weight");
    Scalars y;
    for (int64_t n = 0; n < batch_; ++n) {
      for (int64_t k = 0; k < s.out_features; ++k) {
        Tape::Scalar sum =
            s.bias ? tensors_.at(name + ".bias")[static_cast<size_t>(k)] : tape.Constant(0);
        for (int64_t c = 0; c < s.in_features; ++c) {
          sum = tape.Add(sum, tape.Multiply(x[static_cast<size_t>(n * s.in_features + c)],
                                            weight[static_cast<size_t>(k * s.in_features + c)]));
        }
        y.push_back(sum);
      }
    }
    return y;
  }

  Scalars Normalize(const std::string& name, const BatchNormShape& s, const Scalars& x,
                    const Scalars* residual) {
    const auto channels = static_cast<size_t>(s.channels), rows = x.size() / channels;
    Scalars y(x.size());
    for (size_t c = 0; c < channels; ++c) {
      const Tape::Scalar running_mean = tensors_.at(name + ".running_mean")[c];
      const Tape::Scalar running_variance = tensors_.at(name + ".running_var")[c];
      Tape::Scalar mean = running_mean, variance = running_variance;
      if (options_.training) {
        mean = tape.Constant(0);
        for (size_t i = 0; i < rows; ++i) mean = tape.Add(mean, x[i * channels + c]);
        mean = tape.Scale(mean, 1.0 / static_cast<double>(rows));
        variance = tape.Constant(0);
        for (size_t i = 0; i < rows; ++i) {
          const Tape::Scalar centred = tape.Add(x[i * channels + c], tape.Scale(mean, -1));
          variance = tape.Add(variance, tape.Multiply(centred, centred));
        }
        variance = tape.Scale(variance, 1.0 / static_cast<double>(rows));
        const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
        const double keep = 1 - s.momentum;
        running_values[name + ".running_mean"].push_back(keep * tape.value(running_mean) +
                                                         s.momentum * tape.value(mean));
        running_values[name + ".running_var"].push_back(
            keep * tape.value(running_variance) + s.momentum * unbiased * tape.value(variance));
      }
      const Tape::Scalar inverse = tape.InverseSquareRoot(tape.AddConstant(variance, s.epsilon));
      const Tape::Scalar factor = tape.Multiply(inverse, tensors_.at(name + ".weight")[c]);
      for (size_t i = c; i < x.size(); i += channels) {
        const Tape::Scalar centred = tape.Add(x[i], tape.Scale(mean, -1));
        Tape::Scalar value =
            tape.Add(tape.Multiply(centred, factor), tensors_.at(name + ".bias")[c]);
        if (residual) value = tape.Add(value, (*residual)[i]);
        y[i] = s.relu ? tape.Relu(value) : value;
      }
    }
    return y;
  }

  Scalars Pool(const PoolingShape& s, const Scalars& x) {
    const double area = static_cast<double>(s.window_height * s.window_width);
    Scalars y;
    for (int64_t n = 0; n < batch_; ++n) {
      for (int64_t row = 0; row < s.out_height(); ++row) {
        for (int64_t column = 0; column < s.out_width(); ++column) {
          for (int64_t c = 0; c < s.channels; ++c) {
            Scalars window;
            for (int64_t r = 0; r < s.window_height; ++r) {
              for (int64_t q = 0; q < s.window_width; ++q) {
                const int64_t h = row * s.stride_height + r - s.padding_height;
                const int64_t w = column * s.stride_width + q - s.padding_width;
                if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
                const int64_t at = ((n * s.height + h) * s.width + w) * s.channels + c;
                window.push_back(x[static_cast<size_t>(at)]);
              }
            }
            Tape::Scalar result = window[0];
            for (size_t i = 1; i < window.size(); ++i) {
              if (s.kind == PoolingShape::Kind::kAverage) {
                result = tape.Add(result, window[i]);
              } else if (tape.value(window[i]) > tape.value(result)) {
                result = window[i];
              }
            }
            y.push_back(s.kind == PoolingShape::Kind::kAverage ? tape.Scale(result, 1 / area)
                                                               : result);
          }
        }
      }
    }
    return y;
  }

  Scalars Pad(const PadShortcutShape& s, const Scalars& x) {
    const int64_t front = (s.out_channels - s.channels) / 2;
    Scalars y;
    for (int64_t n = 0; n < batch_; ++n) {
      for (int64_t h = 0; h < s.height; h += s.stride) {
        for (int64_t w = 0; w < s.width; w += s.stride) {
          for (int64_t k = 0; k < s.out_channels; ++k) {
            const int64_t c = k - front;
            const int64_t at = ((n * s.height + h) * s.width + w) * s.channels + c;
            y.push_back(c >= 0 && c < s.channels ? x[static_cast<size_t>(at)] : tape.Constant(0));
          }
        }
      }
    }
    return y;
  }

  Scalars Average(const ImageShape& s, const Scalars& x) {
    const int64_t pixels = s.height * s.width;
    Scalars y;
    for (int64_t n = 0; n < batch_; ++n) {
      for (int64_t c = 0; c < s.channels; ++c) {
        Tape::Scalar sum = tape.Constant(0);
        for (int64_t p = 0; p < pixels; ++p) {
          sum = tape.Add(sum, x[static_cast<size_t>((n * pixels + p) * s.channels + c)]);
        }
        y.push_back(tape.Scale(sum, 1.0 / static_cast<double>(pixels)));
      }
    }
    return y;
  }

  int64_t batch_;
  const Float64Options& options_;
  std::map<std::string, Scalars> tensors_;
};

}  // namespace

Float64Result EvaluateFloat64(const LayerGraph& graph,
                              const std::map<std::string, std::vector<float>>& tensors,
                              const Float64Batch& batch, const Float64Options& options) {
  Evaluator evaluator(tensors, static_cast<int64_t>(batch.labels.size()), options);
  std::vector<Scalars> values = {evaluator.Constants(batch.images)};
  for (const auto& layer : graph.layers()) {
    std::vector<const Scalars*> inputs;
    for (const int input : layer->inputs()) inputs.push_back(&values[static_cast<size_t>(input)]);
    values.push_back(evaluator.Run(*layer, inputs, graph.shape({layer->inputs()[0]})));
  }
  const Tape::Scalar loss = evaluator.Loss(values.back(), batch.labels, graph.classes());
  Float64Result result;
  result.loss_sum = evaluator.tape.value(loss);
  for (const Tape::Scalar logit : values.back()) {
    result.logits.push_back(evaluator.tape.value(logit));
  }
  const std::vector<double> gradient = evaluator.tape.Gradient(loss);
  for (const TensorSpec& spec : graph.tensor_specs()) {
    if (!spec.trainable()) continue;
    for (const Tape::Scalar element : evaluator.tensors().at(spec.name)) {
      result.gradients[spec.name].push_back(options.gradient_scale * gradient[element]);
    }
  }
  result.running_values = evaluator.running_values;
  return result;
}

}  // namespace thinwire
