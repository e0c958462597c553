// SIGINT and SIGTERM as a request to finish the step.
#pragma once

#include <csignal>

namespace thinwire {

/// While it lives, the first SIGINT or SIGTERM to this process is only noted; a second one ends the
/// program as usual. One at a time.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  /// The signal that came while one lived, or 0; may be asked by any thread.
  static int received();

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace thinwire
