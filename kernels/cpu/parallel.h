// The one way to run CPU work on many threads. Work is cut into chunks whose bounds do not depend
// on the number of threads, so results do not either.
#pragma once

#include <algorithm>
#include <cstdint>

#if defined(__SANITIZE_THREAD__)
#include <atomic>
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif

namespace thinwire::cpu {

#if defined(__SANITIZE_THREAD__)
// ThreadSanitizer does not understand libgomp's barriers, so under it plain threads do the work.
inline int ThreadCount() { return 2; }

template <typename Function>
void ParallelChunks(int64_t chunks, const Function& function) {
  if (chunks <= 1) {
    if (chunks == 1) function(int64_t{0});
    return;
  }
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t i = next++; i < chunks; i = next++) function(i);
  };
  std::thread helper(work);
  work();
  helper.join();
}
#else
inline int ThreadCount() { return omp_get_max_threads(); }

/// Calls function(i) for each i in [0, chunks), on all threads. `function` must not throw.
template <typename Function>
void ParallelChunks(int64_t chunks, const Function& function) {
  if (chunks <= 1) {
    if (chunks == 1) function(int64_t{0});
    return;
  }
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < chunks; ++i) function(i);
}
#endif

/// Calls function(begin, end) on the chunks of [0, count) of `grain` elements each.
template <typename Function>
void ParallelFor(int64_t count, int64_t grain, const Function& function) {
  ParallelChunks((count + grain - 1) / grain, [&](int64_t i) {
    function(i * grain, std::min(count, (i + 1) * grain));
  });
}

}  // namespace thinwire::cpu
