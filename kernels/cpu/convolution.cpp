#include "kernels/cpu/convolution.h"

#include "kernels/cpu/onednn.h"
#include "kernels/cpu/winograd.h"

namespace thinwire {

std::unique_ptr<Convolution> MakeCpuConvolution(Device& device, const ConvolutionShape& shape) {
  CheckShape(shape);
  if (cpu::WinogradApplies(shape)) return cpu::MakeWinogradConvolution(device, shape);
  return cpu::MakeOnednnConvolution(device, shape);
}

}  // namespace thinwire
