// Ranks with a GPU each: device memory goes by NCCL, in queue order and without waiting for it;
// small messages of the host, and what ranks know of each other, by another communicator.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "comm/communicator.h"
#include "comm/failure.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/queue.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, Device& device,
                   const CommunicatorOptions& options)
      : Communicator(device, host->rank(), host->size()),
        host_(std::move(host)),
        queue_(cuda::QueueOf(device)),
        timeout_(options.timeout_seconds) {
    ncclUniqueId id{};
    if (rank() == 0) Check(ncclGetUniqueId(&id), "ncclGetUniqueId", __LINE__);
    const std::string bytes =
        host_->BroadcastHost(std::string(id.internal, sizeof(id.internal)), 0);
    if (bytes.size() != sizeof(id.internal)) throw Error("rank 0 sent no NCCL id", "");
    std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    Finish(ncclCommInitRankConfig(&nccl_, size(), id, rank(), &config), "ncclCommInitRankConfig",
           __LINE__);
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&finished_, cudaEventDisableTiming));
    watch_ = std::thread([this] { Watch(); });
  }

  ~NcclCommunicator() override {
    ended_ = true;
    if (watch_.joinable()) watch_.join();
    if (!aborted_) {
      // Others may still need what this rank has enqueued; a rank that fails has aborted before.
      cudaStreamSynchronize(queue_.stream);
      ncclCommDestroy(nccl_);
    }
    cudaEventDestroy(finished_);
  }

  const char* kind() const override { return host_->kind(); }
  std::string description() const override { return host_->description() + " and NCCL"; }
  void Progress() override { host_->SetStep(step()); }
  void Abort(const std::string& reason) override {
    AbortNccl();
    host_->Abort(reason);
  }

 private:
  void AllToAllOnDevice(ConstView send, std::span<const int64_t> send_bytes, View receive,
                        std::span<const int64_t> receive_bytes, const char* what) override {
    ThrowIfAborted(what);
    Check(ncclGroupStart(), "ncclGroupStart", __LINE__);
    int64_t from = 0, to = 0;
    for (size_t r = 0; r < send_bytes.size(); ++r) {
      const ConstView part = Bytes(send, from, send_bytes[r]);
      const View place = Bytes(receive, to, receive_bytes[r]);
      from += part.size;
      to += place.size;
      if (static_cast<int>(r) == rank()) {
        if (part.data != place.data) device_.Copy(part, place);
        continue;
      }
      Send(part, static_cast<int>(r));
      Receive(place, static_cast<int>(r));
    }
    Finish(ncclGroupEnd(), what, __LINE__);
  }

  void AllGatherOnDevice(ConstView send, View receive, std::span<const int64_t> bytes,
                         const char* what) override {
    ThrowIfAborted(what);
    const auto own = static_cast<size_t>(rank());
    const ConstView mine = Bytes(send, 0, bytes[own]);
    if (std::all_of(bytes.begin(), bytes.end(), [&](int64_t b) { return b == bytes[0]; })) {
      Finish(ncclAllGather(mine.data, receive.data, static_cast<size_t>(mine.size), ncclUint8,
                           nccl_, queue_.stream),
             what, __LINE__);
      return;
    }
    Check(ncclGroupStart(), "ncclGroupStart", __LINE__);
    int64_t to = 0;
    for (size_t r = 0; r < bytes.size(); ++r) {
      const View place = Bytes(receive, to, bytes[r]);
      to += place.size;
      if (r == own) {
        if (mine.data != place.data) device_.Copy(mine, place);
        continue;
      }
      Send(mine, static_cast<int>(r));
      Receive(place, static_cast<int>(r));
    }
    Finish(ncclGroupEnd(), what, __LINE__);
  }

  void BroadcastOnDevice(View values, int root, const char* what) override {
    ThrowIfAborted(what);
    const View all = Bytes(values, 0, values.size * SizeOf(values.type));
    Finish(ncclBroadcast(all.data, all.data, static_cast<size_t>(all.size), ncclUint8, root, nccl_,
                         queue_.stream),
           what, __LINE__);
  }

  // Host memory is the other communicator's.
  void DoAllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char*) override {
    host_->AllToAllHost({send, Total(send_bytes)}, send_bytes, {receive, Total(receive_bytes)},
                        receive_bytes, Purpose::kControl);
  }
  void DoAllGather(const std::byte* send, std::byte* receive, std::span<const int64_t> bytes,
                   const char*) override {
    host_->AllGatherHost({send, static_cast<size_t>(bytes[static_cast<size_t>(rank())])},
                         {receive, Total(bytes)}, bytes, Purpose::kControl);
  }
  void DoBroadcast(std::byte* data, int64_t bytes, int root, const char*) override {
    const std::string text = host_->BroadcastHost(
        {reinterpret_cast<const char*>(data), static_cast<size_t>(bytes)}, root);
    if (static_cast<int64_t>(text.size()) == bytes) std::memcpy(data, text.data(), text.size());
  }
  void DoBarrier() override { host_->Barrier(); }

  static size_t Total(std::span<const int64_t> bytes) {
    int64_t total = 0;
    for (const int64_t count : bytes) total += count;
    return static_cast<size_t>(total);
  }
  static ConstView Bytes(ConstView view, int64_t offset, int64_t bytes) {
    return {static_cast<const std::byte*>(view.data) + offset, bytes, DataType::kUint8};
  }
  static View Bytes(View view, int64_t offset, int64_t bytes) {
    return {static_cast<std::byte*>(view.data) + offset, bytes, DataType::kUint8};
  }

  void Send(ConstView part, int to) {
    if (part.size == 0) return;
    Check(ncclSend(part.data, static_cast<size_t>(part.size), ncclUint8, to, nccl_, queue_.stream),
          "ncclSend", __LINE__);
  }
  void Receive(View place, int from) {
    if (place.size == 0) return;
    Check(ncclRecv(place.data, static_cast<size_t>(place.size), ncclUint8, from, nccl_,
                   queue_.stream),
          "ncclRecv", __LINE__);
  }

  /// Of a call within a group, or one that needs no communicator.
  void Check(ncclResult_t status, const char* call, int line) {
    if (status == ncclSuccess || status == ncclInProgress) return;
    Fail(status, call, line);
  }

  /// Waits until NCCL has taken the call in, which takes long the first time.
  void Finish(ncclResult_t status, const char* call, int line) {
    const double start = MonotonicSeconds();
    while (status == ncclInProgress) {
      if (MonotonicSeconds() - start > timeout_ || aborted_) {
        Fail(ncclInProgress, call, line);
      }
      std::this_thread::yield();
      if (const ncclResult_t asked = ncclCommGetAsyncError(nccl_, &status); asked != ncclSuccess) {
        status = asked;
      }
    }
    if (status != ncclSuccess) Fail(status, call, line);
    if (finished_ == nullptr) return;
    const std::lock_guard lock(mutex_);
    THINWIRE_CUDA_CHECK(cudaEventRecord(finished_, queue_.stream));
    enqueued_at_ = MonotonicSeconds();
    step_of_last_ = step();
  }

  /// @throws Error what the other communicator knows of the cause, or NCCL's own words.
  [[noreturn]] void Fail(ncclResult_t status, const char* call, int line) {
    const std::string words =
        status == ncclInProgress
            ? fmt::format("no progress for {:g} s", timeout_)
            : fmt::format("{} ({})", ncclGetErrorString(status), ncclGetLastError(nccl_));
    const std::string text =
        fmt::format("{} at step {} failed at {}:{} on CUDA device {}, rank {}: {}", call, step(),
                    __FILE__, line, queue_.device, rank(), words);
    AbortNccl();
    host_->Barrier();  // throws if a rank has failed, and names it
    throw Error(text, "NCCL_DEBUG=INFO makes NCCL say more");
  }

  void ThrowIfAborted(const char* what) {
    if (!aborted_) return;
    host_->Barrier();
    throw Error(fmt::format("{} at step {}: NCCL gave up earlier: {}", what, step(), reason_),
                "NCCL_DEBUG=INFO makes NCCL say more");
  }

  void AbortNccl() {
    if (!aborted_.exchange(true) && nccl_ != nullptr) ncclCommAbort(nccl_);
  }

  /// On a thread of its own: a collective that hangs keeps the GPU, and with it everyone who waits
  /// for the queue. Aborting lets the queue go on; the next collective throws.
  void Watch() {
    cudaSetDevice(queue_.device);
    while (!ended_ && !aborted_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      std::string reason;
      {
        const std::lock_guard lock(mutex_);
        if (enqueued_at_ > 0 && MonotonicSeconds() - enqueued_at_ > timeout_ &&
            cudaEventQuery(finished_) == cudaErrorNotReady) {
          reason = fmt::format("a collective of step {} has not finished for {:g} s", step_of_last_,
                               timeout_);
        }
      }
      ncclResult_t state = ncclSuccess;
      if (reason.empty() && ncclCommGetAsyncError(nccl_, &state) == ncclSuccess &&
          state != ncclSuccess && state != ncclInProgress) {
        reason = ncclGetErrorString(state);
      }
      if (reason.empty() || ended_ || aborted_) continue;
      reason_ = reason;
      AbortNccl();
    }
  }

  std::unique_ptr<Communicator> host_;
  cuda::Queue queue_;
  double timeout_;
  ncclComm_t nccl_ = nullptr;
  std::thread watch_;
  std::atomic<bool> aborted_ = false, ended_ = false;
  std::string reason_;  // written before aborted_
  std::mutex mutex_;    // of the three below
  cudaEvent_t finished_ = nullptr;
  double enqueued_at_ = 0;
  int64_t step_of_last_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> WithNccl(std::unique_ptr<Communicator> host, Device& device,
                                       const CommunicatorOptions& options) {
  if (host->size() == 1) return host;
  std::string gpu;
  if (std::strcmp(device.kind(), "cuda") == 0) {
    char bus[32] = {};
    THINWIRE_CUDA_CHECK(cudaDeviceGetPCIBusId(bus, sizeof(bus), cuda::QueueOf(device).device));
    gpu = HostName() + " " + bus;
  }
  std::vector<std::string> gpus = host->AllGatherHost(gpu);
  std::sort(gpus.begin(), gpus.end());
  const bool shared = std::adjacent_find(gpus.begin(), gpus.end()) != gpus.end();
  if (shared || gpus.front().empty()) return host;
  return std::make_unique<NcclCommunicator>(std::move(host), device, options);
}

}  // namespace thinwire
