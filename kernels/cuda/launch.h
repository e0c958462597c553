// The ways to enqueue work, at once or by way of the queue's recorder.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>

#include "kernels/cuda/queue.h"

namespace thinwire::cuda {

struct Grid {
  int64_t blocks = 1;
  int threads = 256;
  int64_t shared_bytes = 0;
};

/// A kernel's argument: trivially copyable, with padding of zeros.
struct KernelArgument {
  void* value;
  size_t size;
};

/// @throws Error that names the kernel if it cannot be launched.
void LaunchKernel(const char* name, const Queue& queue, const Grid& grid, const void* kernel,
                  std::span<const KernelArgument> arguments);

/// Whether work for the queue is put off now.
bool IsRecording(const Queue& queue);

/// Puts `call`, which enqueues work that `key` names with all its operands, behind what is
/// recorded.
void Record(const Queue& queue, std::string key, std::function<void()> call);

inline void AppendKey(std::string& key, std::span<const int64_t> numbers) {
  key.append(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes());
}
template <typename Part>
requires std::is_scalar_v<Part>
void AppendKey(std::string& key, Part part) {
  key.append(reinterpret_cast<const char*>(&part), sizeof(part));
}

/// Calls `call`, which enqueues work of a library, now or when what is recorded is enqueued.
/// `parts` say all that the work depends on: what it is (a literal) and its operands.
template <typename Call, typename... Parts>
void Enqueue(const Queue& queue, const Call& call, const Parts&... parts) {
  if (!IsRecording(queue)) return call();
  std::string key;
  (AppendKey(key, parts), ...);
  Record(queue, std::move(key), call);
}

/// Sets bytes of device memory to `value`.
void Fill(const Queue& queue, void* memory, int value, int64_t bytes);

/// Device memory for `bytes` that recorded work reads when it runs and that are no part of what
/// names it; null if nothing is recorded.
const void* RecordArgument(const Queue& queue, const void* value, size_t bytes);

/// A kernel's argument that may differ from step to step.
template <typename T>
struct StepArgument {
  T value;
  const T* recorded;  // takes the value's place, unless null

#ifdef __CUDACC__
  __device__ T Get() const { return recorded == nullptr ? value : *recorded; }
#endif
};
template <typename T>
StepArgument<T> MakeStepArgument(const Queue& queue, const T& value) {
  const auto* recorded = static_cast<const T*>(RecordArgument(queue, &value, sizeof(T)));
  return {recorded == nullptr ? value : T{}, recorded};
}

/// The same of what multiplies a vector, which may be a learning rate: only 1 never is.
template <typename T>
StepArgument<T> MakeFactor(const Queue& queue, double factor) {
  const auto value = static_cast<T>(factor);
  return value == 1 ? StepArgument<T>{value, nullptr} : MakeStepArgument(queue, value);
}

}  // namespace thinwire::cuda
