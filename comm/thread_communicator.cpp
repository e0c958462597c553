// Ranks that are threads of one process: they show each other their memory, and everyone copies
// what is meant for him.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <system_error>
#include <thread>

#include "comm/communicator.h"
#include "comm/failure.h"

namespace thinwire {
namespace {

/// What a rank brings to a collective. It stays valid until all ranks have left the collective.
struct Offer {
  const char* what;
  const std::byte* data;
  std::span<const int64_t> bytes;
  int root = 0;
};

int64_t Start(std::span<const int64_t> bytes, int rank) {
  return std::accumulate(bytes.begin(), bytes.begin() + rank, int64_t{0});
}

void CopyBytes(const std::byte* source, std::byte* destination, int64_t bytes) {
  if (bytes > 0 && source != destination) {
    std::memcpy(destination, source, static_cast<size_t>(bytes));
  }
}

}  // namespace

/// What the ranks share. It lives as long as any of them, so that a thread that wakes after its
/// group was given up finds it, and finds that all is over.
struct ThreadGroup::State {
  State(int group_size, const CommunicatorOptions& options)
      : size(group_size),
        timeout(options.timeout_seconds),
        hosts(static_cast<size_t>(size), HostName()),
        ranks(static_cast<size_t>(size)) {
    for (Rank& rank : ranks) rank.heard = MonotonicSeconds();
  }

  struct Rank {
    std::atomic<double> heard = 0;  // when it last made progress
    bool arrived = false;           // waits for the others
    bool finished = false;          // its thread is about to end
    Offer offer{};
  };

  void Heard(int rank) {
    ranks[static_cast<size_t>(rank)].heard.store(MonotonicSeconds(), std::memory_order_relaxed);
  }
  std::string Name(int rank) const { return NameRanks({rank}, hosts); }

  /// Returns when all ranks have arrived: then all go on, whatever fails afterwards.
  void Enter(int rank, const Offer& offer, int64_t step);
  /// Returns when all ranks have read what they need. Nobody gives up waiting: between Enter and
  /// Leave there are only copies, and leaving earlier would free memory that another still reads.
  void Leave(int rank, const Place& place, const std::optional<Error>& mismatch);
  void Fail(int rank, const std::string& reason);
  /// The end of a rank's thread; `error` if it threw.
  void Finish(int rank, std::exception_ptr error);
  /// Waits until every rank's thread has finished, but not for ranks that are stuck: that show no
  /// progress although another rank has failed or finished. Returns those.
  std::vector<int> AwaitFinish();

  const int size;
  const double timeout;
  const std::vector<std::string> hosts;

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Rank> ranks;
  std::atomic<uint64_t> entered = 0, left = 0;  // collectives that all ranks entered, left
  int arriving = 0, leaving = 0;
  int failed_rank = -1;  // the first to fail, or -1
  std::string failure;
  std::optional<uint64_t> mismatched;  // the collective in which ranks did not agree
  std::exception_ptr cause, first_error;

 private:
  void AwaitArrivals(std::unique_lock<std::mutex>& lock, int rank, uint64_t entry,
                     const Place& place);
  /// Waits, without the mutex at first, for `counter` to pass `value`. Threads that share a core
  /// hand over faster by yielding a few times than by sleeping at once.
  static bool YieldUntilPassed(const std::atomic<uint64_t>& counter, uint64_t value);
  void ThrowIfFailed(int rank, const Place& place) const;
};

bool ThreadGroup::State::YieldUntilPassed(const std::atomic<uint64_t>& counter, uint64_t value) {
  for (int i = 0; i < 20; ++i) {
    if (counter.load(std::memory_order_acquire) != value) return true;
    std::this_thread::yield();
  }
  return false;
}

void ThreadGroup::State::ThrowIfFailed(int rank, const Place& place) const {
  if (failed_rank < 0) return;
  if (failed_rank == rank) throw Error(failure, "");
  throw RankGaveUp(place, Name(failed_rank), failure);
}

void ThreadGroup::State::Enter(int rank, const Offer& offer, int64_t step) {
  const Place place = {offer.what, step};
  Heard(rank);
  std::unique_lock lock(mutex);
  ThrowIfFailed(rank, place);
  Rank& self = ranks[static_cast<size_t>(rank)];
  self.offer = offer;
  self.arrived = true;
  const uint64_t entry = entered;
  if (++arriving == size) {
    arriving = 0;
    for (Rank& other : ranks) other.arrived = false;
    entered.store(entry + 1, std::memory_order_release);
    changed.notify_all();
  } else {
    lock.unlock();
    if (!YieldUntilPassed(entered, entry)) {
      lock.lock();
      AwaitArrivals(lock, rank, entry, place);
    }
  }
  Heard(rank);
}

void ThreadGroup::State::AwaitArrivals(std::unique_lock<std::mutex>& lock, int rank, uint64_t entry,
                                       const Place& place) {
  const double start = MonotonicSeconds();
  while (entered == entry) {
    if (failed_rank >= 0) {
      Heard(rank);
      ranks[static_cast<size_t>(rank)].arrived = false;
      ThrowIfFailed(rank, place);
    }
    const double now = MonotonicSeconds();
    double next = std::numeric_limits<double>::infinity();
    std::vector<int> finished, silent;
    for (int q = 0; q < size; ++q) {
      const Rank& other = ranks[static_cast<size_t>(q)];
      if (other.arrived) continue;
      const double deadline =
          std::max(start, other.heard.load(std::memory_order_relaxed)) + timeout;
      if (other.finished) finished.push_back(q);
      if (deadline <= now) silent.push_back(q);
      next = std::min(next, deadline);
    }
    if (!finished.empty() || !silent.empty()) {
      const Error error = finished.empty() ? SilentRanks(place, NameRanks(silent, hosts), timeout)
                                           : EndedRanks(place, NameRanks(finished, hosts));
      failed_rank = rank;
      failure = error.what();
      changed.notify_all();
      continue;
    }
    changed.wait_for(lock, std::chrono::duration<double>(std::min(next - now, 3600.0)));
  }
}

void ThreadGroup::State::Leave(int rank, const Place& place, const std::optional<Error>& mismatch) {
  std::unique_lock lock(mutex);
  if (mismatch && failed_rank < 0) {
    failed_rank = rank;
    failure = mismatch->what();
  }
  const uint64_t exit = left;
  if (mismatch) mismatched = exit;
  if (++leaving == size) {
    leaving = 0;
    left.store(exit + 1, std::memory_order_release);
    changed.notify_all();
  } else {
    lock.unlock();
    if (!YieldUntilPassed(left, exit)) {
      lock.lock();
      changed.wait(lock, [&] { return left != exit; });
      lock.unlock();
    }
    lock.lock();
  }
  Heard(rank);
  // A failure after this collective is the next one's business.
  if (mismatched == exit) ThrowIfFailed(rank, place);
}

void ThreadGroup::State::Fail(int rank, const std::string& reason) {
  const std::lock_guard lock(mutex);
  if (failed_rank < 0) {
    failed_rank = rank;
    failure = reason;
  }
  changed.notify_all();
}

void ThreadGroup::State::Finish(int rank, std::exception_ptr error) {
  if (error) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& exception) {
      Fail(rank, exception.what());
    } catch (...) {
      Fail(rank, "something that is no exception was thrown");
    }
  }
  const std::lock_guard lock(mutex);
  if (error && !first_error) first_error = error;
  if (error && failed_rank == rank && !cause) cause = error;
  ranks[static_cast<size_t>(rank)].finished = true;
  changed.notify_all();
}

std::vector<int> ThreadGroup::State::AwaitFinish() {
  const double start = MonotonicSeconds();
  std::unique_lock lock(mutex);
  for (;;) {
    const double now = MonotonicSeconds();
    double next = std::numeric_limits<double>::infinity();
    bool some_finished = failed_rank >= 0;
    std::vector<int> silent;
    bool all_silent = true;
    for (int q = 0; q < size; ++q) {
      const Rank& rank = ranks[static_cast<size_t>(q)];
      some_finished |= rank.finished;
      if (rank.finished) continue;
      const double deadline = std::max(start, rank.heard.load()) + timeout;
      if (deadline <= now && !rank.arrived) {
        silent.push_back(q);
      } else {
        all_silent = false;
        next = std::min(next, deadline);
      }
    }
    if (all_silent && (silent.empty() || some_finished)) return silent;
    changed.wait_for(lock, std::chrono::duration<double>(std::clamp(next - now, 0.01, 1.0)));
  }
}

namespace {

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(Device& device, int rank, std::shared_ptr<ThreadGroup::State> state)
      : Communicator(device, rank, state->size), state_(std::move(state)) {}

  const char* kind() const override { return "threads"; }
  std::string description() const override {
    return fmt::format("{} rank{} in one process", size(), size() == 1 ? "" : "s");
  }
  void Progress() override { state_->Heard(rank()); }
  void Abort(const std::string& reason) override { state_->Fail(rank(), reason); }

 private:
  void DoAllToAll(const std::byte* send, std::span<const int64_t> send_bytes, std::byte* receive,
                  std::span<const int64_t> receive_bytes, const char* what) override {
    Meet({what, send, send_bytes}, [&](int q, const Offer& offer) {
      const int64_t bytes = offer.bytes[static_cast<size_t>(rank())];
      if (bytes != receive_bytes[static_cast<size_t>(q)]) return false;
      CopyBytes(offer.data + Start(offer.bytes, rank()), receive + Start(receive_bytes, q), bytes);
      return true;
    });
  }
  void DoAllGather(const std::byte* send, std::byte* receive, std::span<const int64_t> bytes,
                   const ArrivalWork&, const char* what) override {
    Meet({what, send, bytes}, [&](int q, const Offer& offer) {
      const int64_t part = offer.bytes[static_cast<size_t>(q)];
      if (part != bytes[static_cast<size_t>(q)]) return false;
      CopyBytes(offer.data, receive + Start(bytes, q), part);
      return true;
    });
  }
  void DoBroadcast(std::byte* data, int64_t bytes, int root, const char* what) override {
    Meet({what, data, {&bytes, 1}, root}, [&](int q, const Offer& offer) {
      if (offer.root != root || offer.bytes[0] != bytes) return false;
      if (q == root) CopyBytes(offer.data, data, bytes);
      return true;
    });
  }
  void DoBarrier() override {
    Meet({"barrier", nullptr, {}}, [](int, const Offer&) { return true; });
  }

  /// Shows `offer` to all, and lets `take(q, offer of rank q)` copy from each rank. It returns
  /// false if that rank's offer does not fit this rank's call.
  template <typename Take>
  void Meet(const Offer& offer, const Take& take) {
    const Place place = {offer.what, step()};
    state_->Enter(rank(), offer, step());
    std::optional<Error> mismatch;
    // From its own rank on, so that not all read the same memory at the same time.
    for (int i = 0; i < size() && !mismatch; ++i) {
      const int q = (rank() + i) % size();
      const Offer& other = state_->ranks[static_cast<size_t>(q)].offer;
      if (std::strcmp(other.what, offer.what) != 0) {
        mismatch = DifferentCalls(place, state_->Name(q), fmt::format("is for its {}", other.what));
      } else if (!take(q, other)) {
        mismatch = DifferentCalls(place, state_->Name(q), "has another size or root");
      }
    }
    state_->Leave(rank(), place, mismatch);
  }

  std::shared_ptr<ThreadGroup::State> state_;
};

}  // namespace

ThreadGroup::ThreadGroup(int size, const CommunicatorOptions& options) : size_(size) {
  if (size < 1) {
    throw Error(fmt::format("cannot make a group of {} ranks", size), "ask for at least one",
                Error::Kind::kUsage);
  }
  state_ = std::make_shared<State>(size, options);
}

ThreadGroup::~ThreadGroup() = default;

std::unique_ptr<Communicator> ThreadGroup::Join(int rank, Device& device) {
  if (rank < 0 || rank >= size_) {
    throw Error(fmt::format("there is no rank {} in a group of {}", rank, size_), "");
  }
  state_->Heard(rank);
  return std::make_unique<ThreadCommunicator>(device, rank, state_);
}

void ThreadGroup::Run(const std::function<void(int rank)>& body) {
  State& state = *state_;
  state.cause = state.first_error = nullptr;
  for (int rank = 0; rank < size_; ++rank) {
    state.Heard(rank);
    state.ranks[static_cast<size_t>(rank)].finished = false;
  }
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size_; ++rank) {
    try {
      threads.emplace_back([shared = state_, body, rank] {
        try {
          body(rank);
          shared->Finish(rank, nullptr);
        } catch (...) {
          shared->Finish(rank, std::current_exception());
        }
      });
    } catch (const std::system_error&) {
      const Error error(fmt::format("cannot start the thread of rank {} of {}", rank, size_),
                        "ask for fewer workers, or raise the limit on processes (ulimit -u)");
      for (; rank < size_; ++rank) state.Finish(rank, std::make_exception_ptr(error));
    }
  }

  const std::vector<int> stuck = state.AwaitFinish();
  for (size_t rank = 0; rank < threads.size(); ++rank) {
    if (std::ranges::find(stuck, static_cast<int>(rank)) == stuck.end()) {
      threads[rank].join();
    } else {
      threads[rank].detach();
    }
  }
  const std::lock_guard lock(state.mutex);
  if (state.cause) std::rethrow_exception(state.cause);
  if (state.first_error) std::rethrow_exception(state.first_error);
  if (!stuck.empty()) {
    throw Error(
        fmt::format("no progress for {:g} s of {}", state.timeout, NameRanks(stuck, state.hosts)),
        "see what it waits for");
  }
  if (state.failed_rank >= 0) throw Error(state.failure, "");
}

}  // namespace thinwire
