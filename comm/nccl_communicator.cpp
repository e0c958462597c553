// Ranks with a GPU each: device memory goes by NCCL, in queue order and without waiting for it;
// small messages of the host, and what ranks know of each other, by another communicator.
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>

#include "comm/communicator.h"
#include "comm/failure.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/side_queue.h"
#include "kernels/cuda/step_recorder.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

bool IsError(ncclResult_t status) { return status != ncclSuccess && status != ncclInProgress; }

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> host, Device& device,
                   const CommunicatorOptions& options)
      : Communicator(device, host->rank(), host->size()),
        host_(std::move(host)),
        queue_(cuda::QueueOf(device)),
        timeout_(options.timeout_seconds),
        exceptions_(std::uncaught_exceptions()) {
    ncclUniqueId id{};
    if (rank() == 0) {
      const ncclResult_t status = ncclGetUniqueId(&id);
      if (status != ncclSuccess) Fail(status, "ncclGetUniqueId", __LINE__);
    }
    const std::string bytes =
        host_->BroadcastHost(std::string(id.internal, sizeof(id.internal)), 0);
    if (bytes.size() != sizeof(id.internal)) throw Error("rank 0 sent no NCCL id", "");
    std::memcpy(id.internal, bytes.data(), sizeof(id.internal));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    Call("ncclCommInitRankConfig", __LINE__,
         [&] { return ncclCommInitRankConfig(&nccl_, size(), id, rank(), &config); });
    THINWIRE_CUDA_CHECK(cudaEventCreateWithFlags(&finished_, cudaEventDisableTiming));
    watched_ = true;
    watch_ = std::thread([this] { Watch(); });
  }

  ~NcclCommunicator() override {
    // After a failure nobody may be there any more to take part in what this rank has enqueued;
    // else others may need it, and only this rank's end can say when it has been done.
    if (std::uncaught_exceptions() > exceptions_) AbortNccl();
    cudaStreamSynchronize(queue_.side->stream());
    cudaStreamSynchronize(queue_.stream);
    queue_.recorder->ForgetGraphs();  // NCCL's end waits for theirs
    ended_ = true;
    watch_.join();
    if (!aborted_ && ncclCommFinalize(nccl_) == ncclInProgress) {
      const double start = MonotonicSeconds();
      ncclResult_t state = ncclInProgress;
      while (state == ncclInProgress && MonotonicSeconds() - start < timeout_) {
        std::this_thread::yield();
        if (ncclCommGetAsyncError(nccl_, &state) != ncclSuccess) break;
      }
      if (state == ncclInProgress) AbortNccl();
    }
    if (!aborted_) ncclCommDestroy(nccl_);
    cudaEventDestroy(finished_);
  }

  const char* kind() const override { return host_->kind(); }
  std::string description() const override { return host_->description() + " and NCCL"; }
  bool overlaps() const override { return true; }
  void Progress() override { host_->SetStep(step()); }
  void Abort(const std::string& reason) override {
    AbortNccl();
    host_->Abort(reason);
  }

 private:
  void AllToAllOnDevice(ConstView send, std::span<const int64_t> send_bytes, View receive,
                        std::span<const int64_t> receive_bytes, const char* what) override {
    const std::vector<int64_t> outgoing(send_bytes.begin(), send_bytes.end());
    const std::vector<int64_t> incoming(receive_bytes.begin(), receive_bytes.end());
    const auto call = [=, this] {
      Group group;
      int64_t from = 0, to = 0;
      for (size_t r = 0; r < outgoing.size(); ++r) {
        const ConstView part = Bytes(send, from, outgoing[r]);
        const View place = Bytes(receive, to, incoming[r]);
        from += part.size;
        to += place.size;
        Exchange(group, part, place, static_cast<int>(r));
      }
      return group.End();
    };
    Collective(what, __LINE__, call, send.data, receive.data, send_bytes, receive_bytes);
  }

  void AllGatherOnDevice(ConstView send, View receive, std::span<const int64_t> bytes,
                         const ArrivalWork&, const char* what) override {
    const ConstView mine = Bytes(send, 0, bytes[static_cast<size_t>(rank())]);
    if (Total(bytes) == 0) return;
    if (std::all_of(bytes.begin(), bytes.end(), [&](int64_t b) { return b == bytes[0]; })) {
      const auto call = [=, this] {
        return ncclAllGather(mine.data, receive.data, static_cast<size_t>(mine.size), ncclUint8,
                             nccl_, queue_.current_stream());
      };
      return Collective(what, __LINE__, call, send.data, receive.data, bytes);
    }
    const std::vector<int64_t> parts(bytes.begin(), bytes.end());
    const auto call = [=, this] {
      Group group;
      int64_t to = 0;
      for (size_t r = 0; r < parts.size(); ++r) {
        const View place = Bytes(receive, to, parts[r]);
        to += place.size;
        Exchange(group, mine, place, static_cast<int>(r));
      }
      return group.End();
    };
    Collective(what, __LINE__, call, send.data, receive.data, bytes);
  }

  void BroadcastOnDevice(View values, int root, const char* what) override {
    const View all = Bytes(values, 0, values.size * SizeOf(values.type));
    if (all.size == 0) return;
    const auto call = [=, this] {
      return ncclBroadcast(all.data, all.data, static_cast<size_t>(all.size), ncclUint8, root,
                           nccl_, queue_.current_stream());
    };
    Collective(what, __LINE__, call, all.data, all.size, root);
  }

  // Host memory is the other communicator's.
  void DoAllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char*) override {
    host_->AllToAllHost({send, Total(send_bytes)}, send_bytes, {receive, Total(receive_bytes)},
                        receive_bytes, Purpose::kControl);
  }
  void DoAllGather(const std::byte* send, std::byte* receive, std::span<const int64_t> bytes,
                   const ArrivalWork&, const char*) override {
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

  /// A group of calls, which has to be ended whatever they return.
  class Group {
   public:
    Group() { Add(ncclGroupStart()); }
    void Add(ncclResult_t status) {
      if (IsError(status) && !IsError(first_error_)) first_error_ = status;
    }
    ncclResult_t End() {
      const ncclResult_t status = ncclGroupEnd();
      return IsError(first_error_) ? first_error_ : status;
    }

   private:
    ncclResult_t first_error_ = ncclSuccess;
  };

  /// Sends `part` to rank r and receives `place` from it; what a rank tells itself is copied.
  void Exchange(Group& group, ConstView part, View place, int r) {
    if (r == rank()) {
      if (part.data != place.data) device_.Copy(part, place);
      return;
    }
    const cudaStream_t stream = queue_.current_stream();
    if (part.size > 0) {
      group.Add(ncclSend(part.data, static_cast<size_t>(part.size), ncclUint8, r, nccl_, stream));
    }
    if (place.size > 0) {
      group.Add(ncclRecv(place.data, static_cast<size_t>(place.size), ncclUint8, r, nccl_, stream));
    }
  }

  /// Enqueues a collective with these operands: `call` returns NCCL's status.
  template <typename NcclCall, typename... Operands>
  void Collective(const char* what, int line, const NcclCall& call, const Operands&... operands) {
    cuda::Enqueue(
        queue_, [=, this] { Call(what, line, call); }, what, nccl_, operands...);
    if (!cuda::IsRecording(queue_)) return NoteEnqueued();
    // A graph neither asks whether NCCL has given up, nor can an event within it be asked for.
    queue_.recorder->Surround(
        this, {.before = [=, this] { Call(what, line, [] { return ncclSuccess; }); },
               .after = [this] { NoteEnqueued(); }});
  }
  void NoteEnqueued() {
    const std::lock_guard lock(mutex_);
    THINWIRE_CUDA_CHECK(cudaEventRecord(finished_, queue_.current_stream()));
    enqueued_at_ = MonotonicSeconds();
    step_of_last_ = step();
  }

  /// Calls NCCL and waits until it has taken the call in, which takes long the first time. The
  /// watch may abort in between; then the NCCL communicator is no more, and this throws.
  template <typename NcclCall>
  void Call(const char* what, int line, const NcclCall& call) {
    const double start = MonotonicSeconds();
    ncclResult_t status = ncclInProgress;
    for (bool called = false; status == ncclInProgress; called = true) {
      {
        const std::lock_guard lock(mutex_);
        if (aborted_) break;
        if (!called) {
          status = call();
        } else if (const ncclResult_t asked = ncclCommGetAsyncError(nccl_, &status);
                   asked != ncclSuccess) {
          status = asked;
        }
      }
      if (status == ncclInProgress && MonotonicSeconds() - start > timeout_) break;
      std::this_thread::yield();
    }
    if (status != ncclSuccess) Fail(status, what, line);
  }

  /// Whether a call has failed by what this rank did, or before others took part. Anything else may
  /// be another rank's end.
  bool IsOwnFault(ncclResult_t status) const {
    return nccl_ == nullptr || status == ncclInvalidArgument || status == ncclInvalidUsage ||
           status == ncclUnhandledCudaError;
  }

  /// @throws Error what the other communicator knows of the cause, or NCCL's own words.
  [[noreturn]] void Fail(ncclResult_t status, const char* call, int line) {
    std::string words;
    {
      const std::lock_guard lock(mutex_);
      if (aborted_) {
        words = "NCCL gave up: " + reason_;
      } else if (status == ncclInProgress) {
        words = fmt::format("no progress for {:g} s", timeout_);
      } else {
        words = ncclGetErrorString(status);
        if (const std::string more = ncclGetLastError(nccl_); !more.empty()) {
          words += fmt::format(" ({})", more.substr(0, more.find('\n')));
        }
      }
    }
    AbortNccl();
    // It throws if another rank has failed, and names it.
    if (!IsOwnFault(status)) host_->Barrier();
    throw Error(fmt::format("{} at step {} failed at {}:{} on CUDA device {}, rank {}: {}", call,
                            step(), __FILE__, line, queue_.device, rank(), words),
                "NCCL_DEBUG=INFO makes NCCL say more");
  }

  /// No call with nccl_ follows but the abort, which is the watch's: it may wait for the graphs
  /// that hold collectives, which this rank's thread forgets once the queue has gone on.
  void AbortNccl(const std::string& reason = "this rank failed") {
    const std::lock_guard lock(mutex_);
    if (aborted_) return;
    aborted_ = true;
    reason_ = reason;
    if (!watched_ && nccl_ != nullptr) ncclCommAbort(nccl_);
  }

  /// On a thread of its own: a collective that hangs keeps the GPU, and with it everyone who waits
  /// for the queue. Aborting lets the queue go on; the next collective throws.
  void Watch() {
    cudaSetDevice(queue_.device);
    const auto aborted = [this] {
      const std::lock_guard lock(mutex_);
      return aborted_;
    };
    while (!ended_ && !aborted()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      const std::string problem = FindProblem();
      if (!problem.empty()) AbortNccl(problem);
    }
    if (aborted()) ncclCommAbort(nccl_);
  }

  /// What is wrong with the collectives that are under way, if anything.
  std::string FindProblem() {
    const std::lock_guard lock(mutex_);
    if (aborted_) return "";
    if (enqueued_at_ > 0 && MonotonicSeconds() - enqueued_at_ > timeout_ &&
        cudaEventQuery(finished_) == cudaErrorNotReady) {
      return fmt::format("a collective of step {} has not finished for {:g} s", step_of_last_,
                         timeout_);
    }
    ncclResult_t state = ncclSuccess;
    if (ncclCommGetAsyncError(nccl_, &state) == ncclSuccess && IsError(state)) {
      return ncclGetErrorString(state);
    }
    return "";
  }

  std::unique_ptr<Communicator> host_;
  const cuda::Queue queue_;
  const double timeout_;
  const int exceptions_;
  std::thread watch_;
  std::atomic<bool> ended_ = false;

  std::mutex mutex_;  // of all below, and of every call with nccl_
  ncclComm_t nccl_ = nullptr;
  bool watched_ = false;  // by the thread that aborts
  bool aborted_ = false;
  std::string reason_;
  cudaEvent_t finished_ = nullptr;  // recorded behind the last collective
  double enqueued_at_ = 0;
  int64_t step_of_last_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> WithNccl(std::unique_ptr<Communicator> host, Device& device,
                                       const CommunicatorOptions& options) {
  if (host->size() == 1) return host;
  const Traffic traffic = host->traffic();
  std::string gpu;
  if (std::strcmp(device.kind(), "cuda") == 0) {
    char bus[32] = {};
    THINWIRE_CUDA_CHECK(cudaDeviceGetPCIBusId(bus, sizeof(bus), cuda::QueueOf(device).device));
    gpu = HostName() + " " + bus;
  }
  std::vector<std::string> gpus = host->AllGatherHost(gpu);
  host->RestoreTraffic(traffic);  // the run's own traffic alone is counted
  std::sort(gpus.begin(), gpus.end());
  const bool shared = std::adjacent_find(gpus.begin(), gpus.end()) != gpus.end();
  if (shared || gpus.front().empty()) return host;
  return std::make_unique<NcclCommunicator>(std::move(host), device, options);
}

}  // namespace thinwire
