// Polling that leaves the processor to others.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "comm/failure.h"

namespace thinwire {

/// Pauses between looks at something that has not happened yet: yields at first, and then sleeps
/// the longer the longer it takes, but never much longer than it took so far. Processes may be many
/// more than processors.
class Backoff {
 public:
  /// Something happened.
  void Reset() {
    start_ = MonotonicSeconds();
    yields_ = 0;
  }
  /// Whether it takes long enough to look for reasons.
  bool patient() const { return yields_ >= kYields; }
  void Pause() {
    if (!patient()) {
      ++yields_;
      sched_yield();
      return;
    }
    const double seconds = std::clamp((MonotonicSeconds() - start_) / 16, 2e-5, 1e-3);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }

 private:
  static constexpr int kYields = 50;
  double start_ = MonotonicSeconds();
  int yields_ = 0;
};

}  // namespace thinwire
