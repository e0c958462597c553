// Preloaded before a program, makes a call of the CUDA libraries fail, or the GPUs' memory small,
// or counts calls:
//   THINWIRE_FAULT=CALL:N           the Nth call of CALL of this process is not made, but fails
//   THINWIRE_SKIP=CALL:N            each Nth call of CALL of a thread is not made, but succeeds
//   THINWIRE_FAULT_MEMORY=BYTES     of each GPU
//   THINWIRE_CALL_COUNTS=FILE       a line for each CALL that may fail: its name and how often the
//                                   process has made it, written at its end; and graphs_waited_for,
//                                   those that the simulator, where it works only when it has to
//                                   (GPUSIM_STREAMS=lazy), has run because an event was waited for
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn_backend.h>
#include <dlfcn.h>
#include <nccl.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

namespace {

/// Of the calls so far; never destroyed, since others' destructors make calls, too.
class CallCounts {
 public:
  static CallCounts& Get() {
    static auto* const counts = new CallCounts;
    return *counts;
  }
  void Add(const char* call) {
    const std::lock_guard lock(mutex_);
    ++counts_[call];
  }
  ~CallCounts() = delete;
  void Write() {
    const char* const file = std::getenv("THINWIRE_CALL_COUNTS");
    if (file == nullptr) return;
    std::ofstream stream(file);
    const std::lock_guard lock(mutex_);
    for (const auto& [call, count] : counts_) stream << call << " " << count << "\n";
  }

 private:
  std::mutex mutex_;
  std::map<std::string, long> counts_;
};
__attribute__((destructor)) void WriteCallCounts() { CallCounts::Get().Write(); }

/// The N of a fault "CALL:N"; 0 if it is another call's, or none.
long NumberOf(const char* fault, const char* call) {
  if (fault == nullptr) return 0;
  const char* colon = std::strchr(fault, ':');
  const auto length = static_cast<size_t>(colon - fault);
  if (std::strlen(call) != length || std::strncmp(call, fault, length) != 0) return 0;
  return std::atol(colon + 1);
}

bool Fails(const char* call) {
  CallCounts::Get().Add(call);
  static const char* const fault = std::getenv("THINWIRE_FAULT");
  static std::atomic<long> count = 0;
  const long number = NumberOf(fault, call);
  return number > 0 && ++count == number;
}

bool IsSkipped(const char* call) {
  static const char* const fault = std::getenv("THINWIRE_SKIP");
  thread_local long count = 0;
  const long number = NumberOf(fault, call);
  return number > 0 && ++count % number == 0;
}

thread_local bool waits_for_event = false;

/// The call that this library stands before.
template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

size_t MemoryOfEach() {
  static const char* const text = std::getenv("THINWIRE_FAULT_MEMORY");
  return text == nullptr ? SIZE_MAX : std::strtoull(text, nullptr, 10);
}

struct Allocation {
  int device;
  size_t bytes;
};
std::mutex mutex;  // of both below
std::map<void*, Allocation> allocations;
std::array<size_t, 16> held;

int CurrentDevice() {
  int device = 0;
  cudaGetDevice(&device);
  return device;
}

}  // namespace

#define THINWIRE_CAN_FAIL(Status, failure, call, parameters, arguments) \
  extern "C" Status call parameters {                                   \
    static const auto real = Real<Status parameters>(#call);            \
    if (IsSkipped(#call)) return Status{};                              \
    return Fails(#call) ? failure : real arguments;                     \
  }

THINWIRE_CAN_FAIL(cudaError_t, cudaErrorInvalidValue, cudaMemcpyAsync,
                  (void* to, const void* from, size_t size, cudaMemcpyKind kind,
                   cudaStream_t stream),
                  (to, from, size, kind, stream))
THINWIRE_CAN_FAIL(cudaError_t, cudaErrorMemoryAllocation, cudaHostAlloc,
                  (void** memory, size_t size, unsigned flags), (memory, size, flags))
THINWIRE_CAN_FAIL(cudaError_t, cudaErrorIllegalAddress, cudaStreamSynchronize,
                  (cudaStream_t stream), (stream))
THINWIRE_CAN_FAIL(cudaError_t, cudaErrorInvalidValue, cudaStreamWaitEvent,
                  (cudaStream_t stream, cudaEvent_t event, unsigned flags), (stream, event, flags))
THINWIRE_CAN_FAIL(cudaError_t, cudaErrorInvalidValue, cudaEventElapsedTime,
                  (float* milliseconds, cudaEvent_t start, cudaEvent_t end),
                  (milliseconds, start, end))
THINWIRE_CAN_FAIL(cudaError_t, cudaErrorInvalidConfiguration, cudaLaunchKernelExC,
                  (const cudaLaunchConfig_t* configuration, const void* kernel, void** arguments),
                  (configuration, kernel, arguments))
THINWIRE_CAN_FAIL(cudaError_t, cudaErrorMemoryAllocation, cudaGraphInstantiate,
                  (cudaGraphExec_t * executable, cudaGraph_t graph, unsigned long long flags),
                  (executable, graph, flags))
THINWIRE_CAN_FAIL(cudnnStatus_t, CUDNN_STATUS_NOT_INITIALIZED, cudnnCreate,
                  (cudnnHandle_t * handle), (handle))
THINWIRE_CAN_FAIL(cudnnStatus_t, CUDNN_STATUS_EXECUTION_FAILED, cudnnBackendExecute,
                  (cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                   cudnnBackendDescriptor_t operands),
                  (handle, plan, operands))
THINWIRE_CAN_FAIL(cublasStatus_t, CUBLAS_STATUS_EXECUTION_FAILED, cublasLtMatmul,
                  (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha,
                   const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                   cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                   cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                   const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_size,
                   cudaStream_t stream),
                  (handle, product, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
                   algorithm, workspace, workspace_size, stream))
THINWIRE_CAN_FAIL(ncclResult_t, ncclSystemError, ncclGetUniqueId, (ncclUniqueId * id), (id))
THINWIRE_CAN_FAIL(ncclResult_t, ncclInvalidArgument, ncclAllGather,
                  (const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t ranks,
                   cudaStream_t stream),
                  (from, to, count, type, ranks, stream))
THINWIRE_CAN_FAIL(ncclResult_t, ncclInvalidUsage, ncclSend,
                  (const void* from, size_t count, ncclDataType_t type, int to, ncclComm_t ranks,
                   cudaStream_t stream),
                  (from, count, type, to, ranks, stream))

extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  static const auto real = Real<cudaError_t(cudaGraphExec_t, cudaStream_t)>("cudaGraphLaunch");
  if (IsSkipped("cudaGraphLaunch")) return cudaSuccess;
  if (Fails("cudaGraphLaunch")) return cudaErrorInvalidValue;
  const cudaError_t status = real(executable, stream);
  if (status != cudaSuccess || std::getenv("THINWIRE_CALL_COUNTS") == nullptr) return status;
  const auto look = [](void*) {
    if (waits_for_event) CallCounts::Get().Add("graphs_waited_for");
  };
  return cudaLaunchHostFunc(stream, look, nullptr);
}

extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  static const auto real = Real<cudaError_t(cudaEvent_t)>("cudaEventSynchronize");
  waits_for_event = true;
  const cudaError_t status = real(event);
  waits_for_event = false;
  return status;
}

extern "C" cudaError_t cudaMalloc(void** memory, size_t bytes) {
  static const auto real = Real<cudaError_t(void**, size_t)>("cudaMalloc");
  const int device = CurrentDevice();
  const std::lock_guard lock(mutex);
  size_t& used = held[static_cast<size_t>(device)];
  if (bytes > MemoryOfEach() - used) return cudaErrorMemoryAllocation;
  const cudaError_t status = real(memory, bytes);
  if (status == cudaSuccess) {
    allocations[*memory] = {device, bytes};
    used += bytes;
  }
  return status;
}

extern "C" cudaError_t cudaFree(void* memory) {
  static const auto real = Real<cudaError_t(void*)>("cudaFree");
  {
    const std::lock_guard lock(mutex);
    if (const auto found = allocations.find(memory); found != allocations.end()) {
      held[static_cast<size_t>(found->second.device)] -= found->second.bytes;
      allocations.erase(found);
    }
  }
  return real(memory);
}

extern "C" cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  static const auto real = Real<cudaError_t(size_t*, size_t*)>("cudaMemGetInfo");
  const cudaError_t status = real(free, total);
  if (status != cudaSuccess || MemoryOfEach() == SIZE_MAX) return status;
  const std::lock_guard lock(mutex);
  *total = MemoryOfEach();
  *free = MemoryOfEach() - held[static_cast<size_t>(CurrentDevice())];
  return status;
}
