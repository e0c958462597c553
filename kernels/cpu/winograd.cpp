// Which form a convolution takes, and the grids of tiles of its three directions.
//
// Forward and backward data are the same pass, with the filter turned and its channels exchanged
// (and, with stride 2, another form).
#include "kernels/cpu/winograd.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/winograd_filter_pass.h"
#include "kernels/cpu/winograd_kernels.h"
#include "kernels/cpu/winograd_pass.h"

namespace thinwire::cpu {

namespace portable {
const WinogradKernels& Winograd(WinogradForm form);
}
namespace avx2 {
const WinogradKernels& Winograd(WinogradForm form);
}
namespace avx512 {
const WinogradKernels& Winograd(WinogradForm form);
}

const WinogradKernels& Winograd(WinogradForm form) {
#if defined(THINWIRE_HAS_avx512)
  if (std::strcmp(Isa().name, "avx512") == 0) return avx512::Winograd(form);
#endif
#if defined(THINWIRE_HAS_avx2)
  if (std::strcmp(Isa().name, "avx2") == 0) return avx2::Winograd(form);
#endif
  return portable::Winograd(form);
}

namespace {

/// In times out channels from which the saved products of stride 2 outweigh its transforms.
constexpr int64_t kStride2Channels = 32 * 64;

/// The bias's gradient: sums over pixels, in float64 over chunks of fixed size.
class BiasPass {
 public:
  BiasPass(Device& device, const ConvolutionShape& shape)
      : device_(device),
        pixels_(shape.batch * shape.out_height() * shape.out_width()),
        channels_(shape.out_channels) {
    device.ReserveWorkspace((2 * chunks() + 1) * channels_ * static_cast<int64_t>(sizeof(double)));
  }

  /// `bias_gradient` is null where there is no bias.
  void Run(const float* output_gradient, float* bias_gradient) const {
    if (bias_gradient == nullptr) return;
    double* sums =
        static_cast<double*>(device_.workspace().data);  // [chunk][sum, squares][channel]
    const float* zeros = reinterpret_cast<float*>(sums + 2 * chunks() * channels_);
    std::memset(sums, 0, static_cast<size_t>((2 * chunks() + 1) * channels_) * sizeof(double));
    ParallelFor(pixels_, kChunk, [&](int64_t begin, int64_t end) {
      double* sum = sums + begin / kChunk * 2 * channels_;
      Isa().moments(output_gradient + begin * channels_, end - begin, channels_, zeros, sum,
                    sum + channels_);
    });
    for (int64_t c = 0; c < channels_; ++c) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks(); ++chunk) total += sums[2 * chunk * channels_ + c];
      bias_gradient[c] = static_cast<float>(total);
    }
  }

 private:
  static constexpr int64_t kChunk = 2048;  // pixels
  int64_t chunks() const { return CeilDivide(pixels_, kChunk); }

  Device& device_;
  int64_t pixels_, channels_;
};

/// Products of the definition along one side, without those with padding.
int64_t DirectProducts(int64_t size, int64_t out_size, int64_t stride, int64_t padding) {
  int64_t products = 0;
  for (int64_t i = 0; i < out_size; ++i) {
    const int64_t begin = i * stride - padding;
    products += std::max<int64_t>(0, std::min(size, begin + 3) - std::max<int64_t>(0, begin));
  }
  return products;
}

/// The form that needs the fewest products for an image and a pair of channels; none if the
/// definition needs fewer.
std::optional<WinogradForm> ChooseForm(const ConvolutionShape& s) {
  std::optional<WinogradForm> best;
  int64_t fewest = DirectProducts(s.height, s.out_height(), s.stride_height, s.padding_height) *
                   DirectProducts(s.width, s.out_width(), s.stride_width, s.padding_width);
  const auto consider = [&](WinogradForm form) {
    const WinogradKernels& kernels = Winograd(form);
    const int64_t products = CeilDivide(s.out_height(), kernels.tile) *
                             CeilDivide(s.out_width(), kernels.tile) * kernels.positions;
    if (products > fewest) return;
    fewest = products;
    best = form;
  };
  if (s.stride_height == 1) {
    consider(WinogradForm::k2x2);
    consider(WinogradForm::k4x4);
  } else if (s.padding_height == s.padding_width &&
             s.in_channels * s.out_channels >= kStride2Channels) {
    consider(WinogradForm::kStride2);
  }
  return best;
}

class WinogradConvolution : public Convolution {
 public:
  WinogradConvolution(Device& device, const ConvolutionShape& s, WinogradForm form)
      : gradients_(s.gradients),
        forward_(device, Winograd(form), Input(s, form), Output(s, form), s.batch, false) {
    if (gradients_.data) {
      data_.emplace(device, Winograd(BackwardForm(s, form)), BackwardInput(s, form),
                    BackwardOutput(s, form), s.batch, true);
    }
    if (gradients_.weights) {
      weights_.emplace(device, Winograd(form), Input(s, form), Output(s, form), s.batch);
      bias_.emplace(device, s);
    }
  }

  void Forward(ConstView input, ConstView filter, ConstView bias, View output) override {
    forward_.Run(input.as<float>(), filter.as<float>(), bias.as<float>(), output.as<float>());
  }
  void BackwardData(ConstView output_gradient, ConstView filter, View input_gradient) override {
    CheckDataGradient(gradients_);
    data_->Run(output_gradient.as<float>(), filter.as<float>(), nullptr,
               input_gradient.as<float>());
  }
  void BackwardWeights(ConstView input, ConstView output_gradient, View filter_gradient,
                       View bias_gradient) override {
    CheckWeightGradient(gradients_);
    bias_->Run(output_gradient.as<float>(), bias_gradient.as<float>());
    weights_->Run(input.as<float>(), output_gradient.as<float>(), filter_gradient.as<float>());
  }
  const char* algorithm(int direction) const override {
    if (direction == 0) return forward_.name();
    if (direction == 1) return data_ ? data_->name() : "none";
    return weights_ ? weights_->name() : "none";
  }

 private:
  static WinogradGrid Input(const ConvolutionShape& s, WinogradForm form) {
    const int64_t tile = Winograd(form).tile;
    return {.height = s.height,
            .width = s.width,
            .channels = s.in_channels,
            .tile_rows = CeilDivide(s.out_height(), tile),
            .tile_columns = CeilDivide(s.out_width(), tile),
            .padding_height = s.padding_height,
            .padding_width = s.padding_width};
  }
  static WinogradGrid Output(const ConvolutionShape& s, WinogradForm form) {
    WinogradGrid grid = Input(s, form);
    grid.height = s.out_height();
    grid.width = s.out_width();
    grid.channels = s.out_channels;
    grid.padding_height = grid.padding_width = 0;
    return grid;
  }

  static WinogradForm BackwardForm(const ConvolutionShape& s, WinogradForm form) {
    if (form != WinogradForm::kStride2) return form;
    return s.padding_height % 2 == 0 ? WinogradForm::kStride2BackwardEven
                                     : WinogradForm::kStride2BackwardOdd;
  }
  /// Output gradients as the input of the pass that gives input gradients.
  static WinogradGrid BackwardInput(const ConvolutionShape& s, WinogradForm form) {
    WinogradGrid grid = BackwardOutput(s, form);
    grid.height = s.out_height();
    grid.width = s.out_width();
    grid.channels = s.out_channels;
    if (form == WinogradForm::kStride2) {
      // The first gradient that the first pixel's tile reads: see Stride2Backward.
      grid.padding_height = grid.padding_width = s.padding_height == 0 ? 1 : 0;
    } else {
      grid.padding_height = 2 - s.padding_height;
      grid.padding_width = 2 - s.padding_width;
    }
    return grid;
  }
  static WinogradGrid BackwardOutput(const ConvolutionShape& s, WinogradForm form) {
    const int64_t tile = Winograd(BackwardForm(s, form)).tile;
    return {.height = s.height,
            .width = s.width,
            .channels = s.in_channels,
            .tile_rows = CeilDivide(s.height, tile),
            .tile_columns = CeilDivide(s.width, tile),
            .padding_height = 0,
            .padding_width = 0};
  }

  GradientUse gradients_;
  WinogradPass forward_;
  std::optional<WinogradPass> data_;
  std::optional<WinogradFilterPass> weights_;
  std::optional<BiasPass> bias_;  // of the gradient
};

}  // namespace

bool WinogradApplies(const ConvolutionShape& s) {
  const int64_t lanes = Winograd(WinogradForm::k4x4).lanes;
  return s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == s.stride_width &&
         s.stride_height <= 2 && s.padding_height <= 2 && s.padding_width <= 2 && s.groups == 1 &&
         s.in_channels % lanes == 0 && s.out_channels % lanes == 0 && ChooseForm(s).has_value();
}

std::unique_ptr<Convolution> MakeWinogradConvolution(Device& device,
                                                     const ConvolutionShape& shape) {
  return std::make_unique<WinogradConvolution>(device, shape, *ChooseForm(shape));
}

}  // namespace thinwire::cpu
