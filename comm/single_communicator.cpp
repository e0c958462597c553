// One rank alone: every collective is a copy.
#include <cstring>

#include "comm/communicator.h"

namespace thinwire {
namespace {

void CopyBytes(const std::byte* source, std::byte* destination, int64_t bytes) {
  if (bytes > 0 && source != destination) {
    std::memcpy(destination, source, static_cast<size_t>(bytes));
  }
}

class SingleCommunicator : public Communicator {
 public:
  explicit SingleCommunicator(Device& device) : Communicator(device, 0, 1) {}
  const char* kind() const override { return "alone"; }
  std::string description() const override { return "1 rank"; }
  void Abort(const std::string&) override {}

 private:
  void AllToAllOnDevice(ConstView send, std::span<const int64_t> send_bytes, View receive,
                        std::span<const int64_t>, const char*) override {
    CopyOnDevice(send, receive, send_bytes[0]);
  }
  void AllGatherOnDevice(ConstView send, View receive, std::span<const int64_t> bytes,
                         const ArrivalWork&, const char*) override {
    CopyOnDevice(send, receive, bytes[0]);
  }
  void BroadcastOnDevice(View, int, const char*) override {}

  void CopyOnDevice(ConstView source, View destination, int64_t bytes) {
    if (source.data == destination.data) return;
    device_.Copy({source.data, bytes, DataType::kUint8},
                 {destination.data, bytes, DataType::kUint8});
  }

  void DoAllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t>, const char*) override {
    CopyBytes(send, receive, send_bytes[0]);
  }
  void DoAllGather(const std::byte* send, std::byte* receive, std::span<const int64_t> bytes,
                   const ArrivalWork&, const char*) override {
    CopyBytes(send, receive, bytes[0]);
  }
  void DoBroadcast(std::byte*, int64_t, int, const char*) override {}
  void DoBarrier() override {}
};

}  // namespace

std::unique_ptr<Communicator> MakeSingleCommunicator(Device& device) {
  return std::make_unique<SingleCommunicator>(device);
}

}  // namespace thinwire
