#include "kernels/staged_copy.h"

#include <vector>

namespace thinwire {
namespace {

class HostStagedCopy : public StagedCopy {
 public:
  HostStagedCopy(Device& device, int64_t bytes)
      : device_(device), memory_(static_cast<size_t>(bytes)) {}

  std::span<std::byte> Memory() override { return memory_; }
  void Start(int64_t bytes) override { bytes_ = bytes; }
  void Finish(View destination) override {
    device_.CopyFromHost(memory_.data(), destination.Slice(0, bytes_));
  }

 private:
  Device& device_;
  std::vector<std::byte> memory_;
  int64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<StagedCopy> MakeStagedCopy(Device& device, int64_t bytes, int64_t places) {
  if (!device.host_visible()) return MakeCudaStagedCopy(device, bytes, places);
  return std::make_unique<HostStagedCopy>(device, bytes);
}

}  // namespace thinwire
