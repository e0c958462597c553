#include "kernels/device.h"

#include <utility>

#include "kernels/error.h"

namespace thinwire {

Buffer::Buffer(Buffer&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      use_(other.use_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    Free();
    device_ = std::exchange(other.device_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    use_ = other.use_;
  }
  return *this;
}

Buffer::~Buffer() { Free(); }

void Buffer::Free() {
  if (data_ == nullptr) return;
  device_->FreeMemory(data_);
  device_->held_.bytes[static_cast<size_t>(use_)] -= bytes_;
}

Buffer Device::Allocate(int64_t bytes) {
  void* data = AllocateMemory(bytes);
  held_.bytes[static_cast<size_t>(use_)] += bytes;
  return Buffer(this, data, bytes, use_);
}

void Device::RunOut(const std::string& device, int64_t asked, int64_t free, int64_t total) const {
  throw OutOfMemory({device, use_, asked, free, total, held_});
}

std::unique_ptr<Device> MakeDevice(const std::string& name, int threads, int gpu,
                                   const GpuOptions& options) {
  if (name == "cuda" || (name == "auto" && CudaDeviceCount() > 0)) {
    return MakeCudaDevice(gpu, options);
  }
  if (name == "cpu" || name == "auto") return MakeCpuDevice(threads);
  throw Error("--device " + name + ": no such device", "use cpu, cuda or auto",
              Error::Kind::kUsage);
}

}  // namespace thinwire
