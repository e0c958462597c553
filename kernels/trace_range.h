// Ranges of time that profilers show: steps, their phases, layers and kernels.
#pragma once

#include <cstdint>

namespace thinwire {

/// What a range is; profilers filter and colour by it.
enum class TraceCategory : uint8_t { kStep, kPhase, kLayer, kKernel };

/// Marks the time of its life on this thread as an NVTX range of the domain "thinwire". While no
/// profiler is attached that costs a few nanoseconds, and in builds without CUDA nothing is marked.
class TraceRange {
 public:
  /// @param number Shown with the name, unless 0: a step's.
  TraceRange(TraceCategory category, const char* name, int64_t number = 0);
  ~TraceRange();
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

}  // namespace thinwire
