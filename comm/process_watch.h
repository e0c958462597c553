// Sees ranks of this host die, and has the last word if this process is about to follow them.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace thinwire {

/// Prints "thinwire: message" to the standard error stream in one piece.
void SayLastWords(const std::string& message);

/// A launcher that sees a rank die sends SIGTERM to all others and kills them a second later. That
/// is time enough to say who died and where the run was. A rank in a collective does so itself (it
/// asks for dead_rank()); for one that computes this object's thread does.
///
/// SIGTERM is only noted if nobody else handles it: then a process for which there is nothing to
/// say ends by it half a second later. One object at a time.
class ProcessWatch {
 public:
  struct Peer {
    int rank;
    pid_t process;
  };

  /// @param peers The other ranks whose processes this one can see.
  /// @param hosts The host of every rank, for messages.
  /// @param spoken Shared by the ranks of this host: not 0 once one of them has said why all end.
  ProcessWatch(std::vector<Peer> peers, std::vector<std::string> hosts, std::atomic<int>* spoken);
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;
  ~ProcessWatch();

  /// Where this rank is; `collective` is a literal.
  void SetPlace(const char* collective, int64_t step);
  /// A rank of this host whose process is gone, or -1.
  int dead_rank() const { return dead_rank_; }
  /// Whether SIGTERM came while nobody else handled it.
  static bool terminated();
  /// True for the first of this host's ranks that asks: it, and no other, says why all end.
  bool Claim() { return spoken_->exchange(1) == 0; }
  bool claimed() const { return spoken_->load() != 0; }

 private:
  void Watch();

  const std::vector<Peer> peers_;
  const std::vector<std::string> hosts_;
  std::atomic<int>* const spoken_;
  std::atomic<const char*> collective_ = "start";
  std::atomic<int64_t> step_ = 0;
  std::atomic<int> dead_rank_ = -1;
  bool handles_signal_ = false;
  struct sigaction old_action_ {};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace thinwire
