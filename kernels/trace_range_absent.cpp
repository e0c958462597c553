// A build without CUDA has no NVTX, and marks nothing.
#include "kernels/trace_range.h"

namespace thinwire {

TraceRange::TraceRange(TraceCategory, const char*, int64_t) {}
TraceRange::~TraceRange() = default;

}  // namespace thinwire
