// oneDNN 2.6 and 3.x differ in how a primitive is described; the difference ends in this file.
//
// Filters (KRSC here) are reordered into the format that a primitive prefers, or back, once a call.
// That copy and the primitive's scratch memory lie in the device's workspace:
// [filter in oneDNN's format][scratchpad].
#include "kernels/cpu/onednn.h"

#include <fmt/format.h>

#include <cstring>
#include <initializer_list>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"

namespace thinwire::cpu {
namespace {

using dnnl::memory;
using Dims = memory::dims;

constexpr int64_t kAlignment = 128;

dnnl::engine& Engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& Stream() {
  static dnnl::stream stream(Engine());
  return stream;
}

memory::desc Describe(const Dims& dims, const Dims& strides) {
  return memory::desc(dims, memory::data_type::f32, strides);
}

memory::desc DescribeAny(const Dims& dims) {
  return memory::desc(dims, memory::data_type::f32, memory::format_tag::any);
}

/// [batch, height, width, channels] as oneDNN sees it: dimensions NCHW, strides NHWC.
memory::desc DescribeImages(int64_t n, int64_t h, int64_t w, int64_t c) {
  return Describe({n, c, h, w}, {h * w * c, 1, w * c, c});
}

memory::desc DescribeVector(int64_t n) { return Describe({n}, {1}); }

/// A primitive and its operands. Run points the operands at this call's memory; it allocates
/// nothing of ours, which is why it goes through the C interface.
class Step {
 public:
  using Operand = std::pair<int, memory::desc>;

  Step(dnnl::primitive primitive, const std::vector<Operand>& operands)
      : primitive_(std::move(primitive)) {
    for (const auto& [index, desc] : operands) {
      memories_.push_back(memory(desc, Engine(), DNNL_MEMORY_NONE));
      arguments_.push_back({index, memories_.back().get()});
    }
  }

  /// `data` in the order of the constructor's operands.
  void Run(std::initializer_list<const void*> data) {
    size_t i = 0;
    for (const void* pointer : data) memories_[i++].set_data_handle(const_cast<void*>(pointer));
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive_.get(), Stream().get(),
                               static_cast<int>(arguments_.size()), arguments_.data()),
        "executing a oneDNN primitive failed");
    Stream().wait();
  }

 private:
  dnnl::primitive primitive_;
  std::vector<memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

/// One direction of an operation: the primitive, and the filter's way into its format.
struct Direction {
  Step compute;
  std::optional<Step> reorder;
  int64_t scratchpad_offset = 0;
  std::string algorithm;
};

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

/// Makes a Direction of a primitive whose operands are `operands` plus the scratchpad, and reserves
/// workspace. `from` and `to` are the filter's formats before and after the reorder.
template <typename Primitive, typename Descriptor>
Direction MakeDirection(Device& device, const Descriptor& descriptor,
                        std::vector<Step::Operand> operands, const memory::desc& from,
                        const memory::desc& to, const memory::desc& in_workspace) {
  std::optional<Step> reorder;
  int64_t offset = 0;
  if (from != to) {
    reorder.emplace(dnnl::reorder(dnnl::reorder::primitive_desc(Engine(), from, Engine(), to)),
                    std::vector<Step::Operand>{{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    offset =
        (static_cast<int64_t>(in_workspace.get_size()) + kAlignment - 1) / kAlignment * kAlignment;
  }
  const memory::desc scratchpad = descriptor.scratchpad_desc();
  device.ReserveWorkspace(offset + static_cast<int64_t>(scratchpad.get_size()) + kAlignment);
  operands.emplace_back(DNNL_ARG_SCRATCHPAD, scratchpad);
  return {Step(Primitive(descriptor), operands), std::move(reorder), offset,
          fmt::format("oneDNN {}", descriptor.impl_info_str())};
}

/// The workspace's first byte, aligned.
std::byte* Workspace(Device& device) { return static_cast<std::byte*>(device.workspace().data); }

/// The gradient of an empty batch.
void Zero(View view) {
  if (view) std::memset(view.data, 0, static_cast<size_t>(view.size) * sizeof(float));
}

class OnednnConvolution : public Convolution {
 public:
  OnednnConvolution(Device& device, const ConvolutionShape& shape)
      : device_(device), shape_(shape) {
    if (shape.batch == 0) return;
    const auto& s = shape;
    const int64_t k = s.out_channels / s.groups, c = s.in_channels / s.groups;
    const int64_t r = s.kernel_height, t = s.kernel_width;
    const Dims filter_dims = s.groups == 1 ? Dims{k, c, r, t} : Dims{s.groups, k, c, r, t};
    const Dims filter_strides =
        s.groups == 1 ? Dims{r * t * c, 1, t * c, c} : Dims{k * r * t * c, r * t * c, 1, t * c, c};
    const memory::desc input = DescribeImages(s.batch, s.height, s.width, s.in_channels);
    const memory::desc output =
        DescribeImages(s.batch, s.out_height(), s.out_width(), s.out_channels);
    const memory::desc filter = Describe(filter_dims, filter_strides);
    const memory::desc any_filter = DescribeAny(filter_dims);
    const memory::desc bias = s.bias ? DescribeVector(s.out_channels) : memory::desc();
    const Dims strides = {s.stride_height, s.stride_width};
    // oneDNN's padding behind may differ from ours where the stride does not divide.
    const Dims before = {s.padding_height, s.padding_width};
    const Dims after = {(s.out_height() - 1) * s.stride_height + r - s.height - s.padding_height,
                        (s.out_width() - 1) * s.stride_width + t - s.width - s.padding_width};
    const auto direct = dnnl::algorithm::convolution_direct;
    const auto training = dnnl::prop_kind::forward_training;
    const dnnl::primitive_attr attributes = UserScratchpad();
    using Forward = dnnl::convolution_forward;
    using Data = dnnl::convolution_backward_data;
    using Weights = dnnl::convolution_backward_weights;
#if DNNL_VERSION_MAJOR >= 3
    const Forward::primitive_desc forward(Engine(), training, direct, input, any_filter, bias,
                                          output, strides, before, after, attributes);
#else
    const Forward::primitive_desc forward(
        Forward::desc(training, direct, input, any_filter, bias, output, strides, before, after),
        attributes, Engine());
#endif
    std::vector<Step::Operand> operands = {
        {DNNL_ARG_SRC, input}, {DNNL_ARG_WEIGHTS, forward.weights_desc()}, {DNNL_ARG_DST, output}};
    if (s.bias) operands.emplace_back(DNNL_ARG_BIAS, bias);
    forward_.emplace(MakeDirection<Forward>(device, forward, operands, filter,
                                            forward.weights_desc(), forward.weights_desc()));
    if (s.gradients.data) {
#if DNNL_VERSION_MAJOR >= 3
      const Data::primitive_desc data(Engine(), direct, input, any_filter, output, strides, before,
                                      after, forward, attributes);
#else
      const Data::primitive_desc data(
          Data::desc(direct, input, any_filter, output, strides, before, after), attributes,
          Engine(), forward);
#endif
      data_.emplace(MakeDirection<Data>(device, data,
                                        {{DNNL_ARG_DIFF_DST, output},
                                         {DNNL_ARG_WEIGHTS, data.weights_desc()},
                                         {DNNL_ARG_DIFF_SRC, input}},
                                        filter, data.weights_desc(), data.weights_desc()));
    }
    if (s.gradients.weights) {
#if DNNL_VERSION_MAJOR >= 3
      const Weights::primitive_desc weights(Engine(), direct, input, any_filter, bias, output,
                                            strides, before, after, forward, attributes);
#else
      const Weights::primitive_desc weights(
          Weights::desc(direct, input, any_filter, bias, output, strides, before, after),
          attributes, Engine(), forward);
#endif
      const memory::desc gradient = weights.diff_weights_desc();
      operands = {
          {DNNL_ARG_SRC, input}, {DNNL_ARG_DIFF_DST, output}, {DNNL_ARG_DIFF_WEIGHTS, gradient}};
      if (s.bias) operands.emplace_back(DNNL_ARG_DIFF_BIAS, bias);
      weights_.emplace(
          MakeDirection<Weights>(device, weights, operands, gradient, filter, gradient));
    }
  }

  void Forward(ConstView input, ConstView filter, ConstView bias, View output) override {
    if (!forward_) return;
    std::byte* workspace = Workspace(device_);
    const void* ready = Reorder(*forward_, filter.data, workspace);
    const void* scratchpad = workspace + forward_->scratchpad_offset;
    if (shape_.bias) {
      forward_->compute.Run({input.data, ready, output.data, bias.data, scratchpad});
    } else {
      forward_->compute.Run({input.data, ready, output.data, scratchpad});
    }
  }

  void BackwardData(ConstView output_gradient, ConstView filter, View input_gradient) override {
    CheckDataGradient(shape_.gradients);
    if (!data_) return;
    std::byte* workspace = Workspace(device_);
    const void* ready = Reorder(*data_, filter.data, workspace);
    data_->compute.Run(
        {output_gradient.data, ready, input_gradient.data, workspace + data_->scratchpad_offset});
  }

  void BackwardWeights(ConstView input, ConstView output_gradient, View filter_gradient,
                       View bias_gradient) override {
    CheckWeightGradient(shape_.gradients);
    if (!weights_) {
      Zero(filter_gradient);
      Zero(bias_gradient);
      return;
    }
    std::byte* workspace = Workspace(device_);
    void* gradient = weights_->reorder ? workspace : filter_gradient.data;
    const void* scratchpad = workspace + weights_->scratchpad_offset;
    if (shape_.bias) {
      weights_->compute.Run(
          {input.data, output_gradient.data, gradient, bias_gradient.data, scratchpad});
    } else {
      weights_->compute.Run({input.data, output_gradient.data, gradient, scratchpad});
    }
    if (weights_->reorder) weights_->reorder->Run({workspace, filter_gradient.data});
  }

  const char* algorithm(int direction) const override {
    const auto& chosen = direction == 0 ? forward_ : direction == 1 ? data_ : weights_;
    return chosen ? chosen->algorithm.c_str() : "none";
  }

 private:
  static const void* Reorder(Direction& direction, const void* filter, std::byte* workspace) {
    if (!direction.reorder) return filter;
    direction.reorder->Run({filter, workspace});
    return workspace;
  }

  Device& device_;
  ConvolutionShape shape_;
  std::optional<Direction> forward_, data_, weights_;  // empty: nothing to do
};

class OnednnLinear : public Linear {
 public:
  OnednnLinear(Device& device, const LinearShape& shape) : device_(device), shape_(shape) {
    if (shape.batch == 0) return;
    const auto& s = shape;
    const memory::desc input = Describe({s.batch, s.in_features}, {s.in_features, 1});
    const memory::desc weight = Describe({s.out_features, s.in_features}, {s.in_features, 1});
    const memory::desc output = Describe({s.batch, s.out_features}, {s.out_features, 1});
    const memory::desc bias = s.bias ? DescribeVector(s.out_features) : memory::desc();
    const auto training = dnnl::prop_kind::forward_training;
    const dnnl::primitive_attr attributes = UserScratchpad();
    using Forward = dnnl::inner_product_forward;
    using Data = dnnl::inner_product_backward_data;
    using Weights = dnnl::inner_product_backward_weights;
#if DNNL_VERSION_MAJOR >= 3
    const Forward::primitive_desc forward(Engine(), training, input, weight, bias, output,
                                          attributes);
#else
    const Forward::primitive_desc forward(Forward::desc(training, input, weight, bias, output),
                                          attributes, Engine());
#endif
    std::vector<Step::Operand> operands = {
        {DNNL_ARG_SRC, input}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DST, output}};
    if (s.bias) operands.emplace_back(DNNL_ARG_BIAS, bias);
    forward_.emplace(MakeDirection<Forward>(device, forward, operands, weight, weight, weight));
    if (s.gradients.data) {
#if DNNL_VERSION_MAJOR >= 3
      const Data::primitive_desc data(Engine(), input, weight, output, forward, attributes);
#else
      const Data::primitive_desc data(Data::desc(input, weight, output), attributes, Engine(),
                                      forward);
#endif
      data_.emplace(MakeDirection<Data>(
          device, data,
          {{DNNL_ARG_DIFF_DST, output}, {DNNL_ARG_WEIGHTS, weight}, {DNNL_ARG_DIFF_SRC, input}},
          weight, weight, weight));
    }
    if (s.gradients.weights) {
#if DNNL_VERSION_MAJOR >= 3
      const Weights::primitive_desc weights(Engine(), input, weight, bias, output, forward,
                                            attributes);
#else
      const Weights::primitive_desc weights(Weights::desc(input, weight, bias, output), attributes,
                                            Engine(), forward);
#endif
      operands = {
          {DNNL_ARG_SRC, input}, {DNNL_ARG_DIFF_DST, output}, {DNNL_ARG_DIFF_WEIGHTS, weight}};
      if (s.bias) operands.emplace_back(DNNL_ARG_DIFF_BIAS, bias);
      weights_.emplace(MakeDirection<Weights>(device, weights, operands, weight, weight, weight));
    }
  }

  void Forward(ConstView input, ConstView weight, ConstView bias, View output) override {
    if (!forward_) return;
    const void* scratchpad = Workspace(device_);
    if (shape_.bias) {
      forward_->compute.Run({input.data, weight.data, output.data, bias.data, scratchpad});
    } else {
      forward_->compute.Run({input.data, weight.data, output.data, scratchpad});
    }
  }

  void BackwardData(ConstView output_gradient, ConstView weight, View input_gradient) override {
    CheckDataGradient(shape_.gradients);
    if (!data_) return;
    data_->compute.Run(
        {output_gradient.data, weight.data, input_gradient.data, Workspace(device_)});
  }

  void BackwardWeights(ConstView input, ConstView output_gradient, View weight_gradient,
                       View bias_gradient) override {
    CheckWeightGradient(shape_.gradients);
    if (!weights_) {
      Zero(weight_gradient);
      Zero(bias_gradient);
      return;
    }
    const void* scratchpad = Workspace(device_);
    if (shape_.bias) {
      weights_->compute.Run(
          {input.data, output_gradient.data, weight_gradient.data, bias_gradient.data, scratchpad});
    } else {
      weights_->compute.Run({input.data, output_gradient.data, weight_gradient.data, scratchpad});
    }
  }

 private:
  Device& device_;
  LinearShape shape_;
  std::optional<Direction> forward_, data_, weights_;  // empty: nothing to do
};

}  // namespace

std::unique_ptr<Convolution> MakeOnednnConvolution(Device& device, const ConvolutionShape& shape) {
  try {
    return std::make_unique<OnednnConvolution>(device, shape);
  } catch (const dnnl::error& error) {
    throw Error(fmt::format("oneDNN cannot plan a {}x{} convolution of [{}, {}, {}, {}] to {} "
                            "channels: {}",
                            shape.kernel_height, shape.kernel_width, shape.batch, shape.height,
                            shape.width, shape.in_channels, shape.out_channels, error.message),
                "choose a smaller batch or another layer shape");
  }
}

std::unique_ptr<Linear> MakeOnednnLinear(Device& device, const LinearShape& shape) {
  try {
    return std::make_unique<OnednnLinear>(device, shape);
  } catch (const dnnl::error& error) {
    throw Error(fmt::format("oneDNN cannot plan a linear layer of [{}, {}] to {} features: {}",
                            shape.batch, shape.in_features, shape.out_features, error.message),
                "choose a smaller batch or another layer shape");
  }
}

}  // namespace thinwire::cpu
