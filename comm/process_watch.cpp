#include "comm/process_watch.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "comm/failure.h"

namespace thinwire {
namespace {

constexpr auto kTick = std::chrono::milliseconds(50);
/// How long a rank in a collective may take to speak before its watch does it.
constexpr double kPatience = 0.4;

// What the signal's handler reads and writes.
std::atomic<bool> terminate_received = false;
std::atomic<std::atomic<int>*> all_said = nullptr;
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void NoteTermination(int signal) {
  // One that was stopped and is woken to be ended does not go on with what it was doing.
  if (all_said.load()->load() != 0) _exit(128 + signal);
  terminate_received = true;
}

bool IsGone(pid_t process) { return kill(process, 0) != 0 && errno == ESRCH; }

}  // namespace

void SayLastWords(const std::string& message) {
  const std::string line = "thinwire: " + message + "\n";
  // Not buffered, since the process may end at any time; if even this fails, nobody can be told.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

ProcessWatch::ProcessWatch(std::vector<Peer> peers, std::vector<std::string> hosts,
                           std::atomic<int>* spoken)
    : peers_(std::move(peers)), hosts_(std::move(hosts)), spoken_(spoken) {
  terminate_received = false;
  all_said = spoken;
  sigaction(SIGTERM, nullptr, &old_action_);
  handles_signal_ = (old_action_.sa_flags & SA_SIGINFO) == 0 && old_action_.sa_handler == SIG_DFL;
  if (handles_signal_) {
    struct sigaction action {};
    action.sa_handler = NoteTermination;
    sigaction(SIGTERM, &action, nullptr);
  }
  thread_ = std::thread([this] { Watch(); });
}

ProcessWatch::~ProcessWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (handles_signal_) sigaction(SIGTERM, &old_action_, nullptr);
}

void ProcessWatch::SetPlace(const char* collective, int64_t step) {
  collective_.store(collective, std::memory_order_relaxed);
  step_.store(step, std::memory_order_relaxed);
}

bool ProcessWatch::terminated() { return terminate_received; }

void ProcessWatch::Watch() {
  double died = 0, terminated_at = 0;
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kTick, [this] { return stopping_; })) {
    const double now = MonotonicSeconds();
    if (terminate_received && terminated_at == 0) terminated_at = now;
    // Who dies later than that obeys the same signal, and is not what is wrong.
    const bool all_told_to_end = terminated_at > 0 && now - terminated_at > kPatience / 2;
    for (const Peer& peer : peers_) {
      if (dead_rank_ < 0 && !all_told_to_end && IsGone(peer.process)) {
        died = now;
        dead_rank_ = peer.rank;
      }
    }
    if (dead_rank_ >= 0 && now - died > kPatience) {
      if (Claim())
        SayLastWords(EndedRanks({collective_, step_}, NameRanks({dead_rank_}, hosts_)).what());
      _exit(EXIT_FAILURE);
    }
    if (dead_rank_ < 0 && terminated_at > 0 && now - terminated_at > kPatience) {
      signal(SIGTERM, SIG_DFL);
      raise(SIGTERM);
    }
  }
}

}  // namespace thinwire
