#include "kernels/device.h"

#include <utility>

#include "kernels/error.h"

namespace thinwire {

Buffer::Buffer(Buffer&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) device_->Free(data_, bytes_);
    device_ = std::exchange(other.device_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) device_->Free(data_, bytes_);
}

std::unique_ptr<Device> MakeDevice(const std::string& name, int threads, int gpu) {
  if (name == "cuda" || (name == "auto" && CudaDeviceCount() > 0)) return MakeCudaDevice(gpu);
  if (name == "cpu" || name == "auto") return MakeCpuDevice(threads);
  throw Error("--device " + name + ": no such device", "use cpu, cuda or auto",
              Error::Kind::kUsage);
}

}  // namespace thinwire
