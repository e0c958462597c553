// SIGINT and SIGTERM as a request to finish the step.
#pragma once

#include <csignal>

namespace thinwire {

/// Keeps SIGINT and SIGTERM away from all threads but one that does nothing else; to be called first
/// of all, as threads inherit it. oneDNN's matrix products use the stack pointer for memory of
/// their own, where the frame of a signal's handler would overwrite what it finds.
void TakeSignalsAside();

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
