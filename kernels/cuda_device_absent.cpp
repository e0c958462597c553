// What a build without CUDA says when it is asked for a GPU.
#include "kernels/device.h"
#include "kernels/error.h"
#include "kernels/staged_copy.h"

namespace thinwire {

int CudaDeviceCount() { return 0; }

std::unique_ptr<Device> MakeCudaDevice(int, const GpuOptions&) {
  throw Error("--device cuda: this build of thinwire has no CUDA backend",
              "use --device cpu, or build with ./scripts/build cuda", Error::Kind::kUsage);
}

std::unique_ptr<StagedCopy> MakeCudaStagedCopy(Device& device, int64_t, int64_t) {
  throw Error("cannot copy to " + device.description() + ": this build has no CUDA backend",
              "build with ./scripts/build cuda");
}

}  // namespace thinwire
