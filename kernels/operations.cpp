#include "kernels/operations.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace thinwire {
namespace {

void CheckPlanned(bool planned, const char* gradient) {
  if (planned) return;
  throw Error(fmt::format("an operation is asked for the gradient of its {}, for which it was not "
                          "planned",
                          gradient),
              "this is a mistake in the program; please report it");
}

}  // namespace

void CheckDataGradient(const GradientUse& gradients) { CheckPlanned(gradients.data, "input"); }

void CheckWeightGradient(const GradientUse& gradients) {
  CheckPlanned(gradients.weights, "weights");
}

std::vector<LossResult> LastResults(std::span<const LossResult> ring, int64_t next, int64_t count) {
  const auto size = std::ssize(ring);
  std::vector<LossResult> results;
  for (int64_t back = count; back > 0; --back) {
    results.push_back(ring[static_cast<size_t>((next + size - back) % size)]);
  }
  return results;
}

void CheckShape(const ConvolutionShape& s) {
  const char* problem = nullptr;
  if (s.batch < 0 || s.height < 1 || s.width < 1 || s.in_channels < 1 || s.out_channels < 1 ||
      s.kernel_height < 1 || s.kernel_width < 1) {
    problem = "a size is not positive";
  } else if (s.stride_height < 1 || s.stride_width < 1) {
    problem = "a stride is not positive";
  } else if (s.padding_height < 0 || s.padding_width < 0) {
    problem = "a padding is negative";
  } else if (s.groups < 1 || s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) {
    problem = "the channels do not divide into the groups";
  } else if (s.height + 2 * s.padding_height < s.kernel_height ||
             s.width + 2 * s.padding_width < s.kernel_width) {
    problem = "the filter is larger than the padded image";
  }
  if (problem) {
    throw Error(fmt::format("there is no {}x{} convolution of [{}, {}, {}, {}] to {} channels in "
                            "{} groups with stride {}x{} and padding {}x{}: {}",
                            s.kernel_height, s.kernel_width, s.batch, s.height, s.width,
                            s.in_channels, s.out_channels, s.groups, s.stride_height,
                            s.stride_width, s.padding_height, s.padding_width, problem),
                "correct the layer's shape or take larger images", Error::Kind::kUsage);
  }
}

void CheckShape(const LinearShape& shape) {
  if (shape.batch < 0 || shape.in_features < 1 || shape.out_features < 1) {
    throw Error(fmt::format("there is no linear layer of [{}, {}] to {} features", shape.batch,
                            shape.in_features, shape.out_features),
                "every size must be positive", Error::Kind::kUsage);
  }
}

void CheckShape(const BatchNormShape& shape) {
  if (shape.rows < 0 || shape.channels < 1) {
    throw Error("batch norm of " + std::to_string(shape.rows) + " rows of " +
                    std::to_string(shape.channels) + " channels",
                "the model or the batch size is wrong");
  }
}

void CheckShape(const PoolingShape& s) {
  const std::string what =
      fmt::format("pooling of a {}x{}x{} image with window {}x{}, stride {}x{}, padding {}x{}",
                  s.height, s.width, s.channels, s.window_height, s.window_width, s.stride_height,
                  s.stride_width, s.padding_height, s.padding_width);
  if (s.batch < 0 || s.channels < 1 || s.window_height < 1 || s.window_width < 1 ||
      s.stride_height < 1 || s.stride_width < 1 || s.padding_height < 0 || s.padding_width < 0) {
    throw Error(what, "sizes must be positive");
  }
  if (s.height + 2 * s.padding_height < s.window_height ||
      s.width + 2 * s.padding_width < s.window_width) {
    throw Error(what + ": the window is larger than the image", "use larger images");
  }
  if (s.padding_height >= s.window_height || s.padding_width >= s.window_width) {
    throw Error(what + ": the padding is as large as the window", "pad less");
  }
  if (s.kind == PoolingShape::Kind::kMax && s.window_height * s.window_width > 256) {
    throw Error(what + ": the window has more than 256 pixels", "use a smaller window");
  }
}

void CheckShape(const GlobalAveragePoolingShape& shape) {
  if (shape.batch < 0 || shape.pixels < 1 || shape.channels < 1) {
    throw Error(fmt::format("global average pooling of {} pixels of {} channels", shape.pixels,
                            shape.channels),
                "use larger images");
  }
}

void CheckShape(const PadShortcutShape& shape) {
  if (shape.batch < 0 || shape.height < 1 || shape.width < 1 || shape.channels < 1 ||
      shape.stride < 1 || shape.out_channels < shape.channels) {
    throw Error(
        fmt::format("padding shortcut of a {}x{}x{} image with stride {} to {} channels",
                    shape.height, shape.width, shape.channels, shape.stride, shape.out_channels),
        "it can only add channels; use shortcut B");
  }
}

void CheckShape(const LossShape& shape) {
  if (shape.results < 1) throw Error("a loss that keeps no result", "it has to keep one");
  if (shape.batch < 0 || shape.classes < 1 ||
      !(shape.label_smoothing >= 0 && shape.label_smoothing <= 1)) {
    throw Error(fmt::format("cross-entropy over {} classes with label smoothing {}", shape.classes,
                            shape.label_smoothing),
                "there must be a class, and smoothing lies between 0 and 1");
  }
}

}  // namespace thinwire
