// SIGINT and SIGTERM as a request to finish the step.
#pragma once

#include <csignal>

namespace thinwire {

/// While it lives, the first SIGINT or SIGTERM is only noted; a second one ends the program as
/// usual. One at a time.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();

  /// The signal that came, or 0.
  int received() const;

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace thinwire
