// The one way to launch a kernel: it names the kernel where the launch fails.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/trace_range.h"

namespace thinwire::cuda {

/// As many blocks of `threads` as keep the device busy, and no more than `items` need.
inline Grid GridFor(const Queue& queue, int64_t items, int threads = 256) {
  constexpr int64_t kResident = 2048;  // threads of a multiprocessor
  const int64_t needed = (items + threads - 1) / threads;
  const int64_t most = queue.multiprocessors * (kResident / threads);
  return {.blocks = needed < most ? needed : most, .threads = threads};
}

template <typename... Parameters, typename... Arguments>
void Launch(const char* name, const Queue& queue, const Grid& grid, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  if (grid.blocks == 0) return;
  const TraceRange range(TraceCategory::kKernel, name);
  [&](Parameters... values) {
    (__builtin_clear_padding(&values), ...);
    const KernelArgument list[] = {{&values, sizeof(values)}...};
    LaunchKernel(name, queue, grid, reinterpret_cast<const void*>(kernel), list);
  }(std::forward<Arguments>(arguments)...);
}

}  // namespace thinwire::cuda
