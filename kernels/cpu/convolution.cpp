#include "kernels/cpu/convolution.h"

#include <fmt/format.h>

#include "kernels/cpu/onednn.h"
#include "kernels/cpu/winograd.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

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

}  // namespace

std::unique_ptr<Convolution> MakeCpuConvolution(Device& device, const ConvolutionShape& shape) {
  CheckShape(shape);
  if (cpu::WinogradApplies(shape)) return cpu::MakeWinogradConvolution(device, shape);
  return cpu::MakeOnednnConvolution(device, shape);
}

}  // namespace thinwire
