// What a build without CUDA says when it is asked for a GPU.
#include "kernels/device.h"
#include "kernels/error.h"

namespace thinwire {

int CudaDeviceCount() { return 0; }

std::unique_ptr<Device> MakeCudaDevice(int, const GpuOptions&) {
  throw Error("--device cuda: this build of thinwire has no CUDA backend",
              "use --device cpu, or build with ./scripts/build cuda", Error::Kind::kUsage);
}

}  // namespace thinwire
