// Work on several threads whose results come out in order.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace thinwire {

/// Calls `make` for first, …, last - 1 on so many threads, and `use` with each result, in order and
/// on the calling thread. At most four results a thread are made and not yet used.
/// @throws what `make` threw for the smallest number, when it is that one's turn; what `use` threw.
template <typename Result>
void WorkInOrder(int64_t first, int64_t last, int threads,
                 const std::function<Result(int64_t)>& make,
                 const std::function<void(int64_t, Result)>& use) {
  struct Slot {
    std::optional<Result> result;
    std::exception_ptr error;
  };
  constexpr int64_t kAhead = 4;
  std::vector<Slot> slots(static_cast<size_t>(threads * kAhead));
  const auto slot_of = [&](int64_t i) -> Slot& {
    return slots[static_cast<size_t>(i - first) % slots.size()];
  };
  std::mutex mutex;  // guards the slots and the two numbers
  std::condition_variable_any room;
  std::condition_variable ready;
  int64_t next = first, used = first;

  const auto work = [&](const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    for (;;) {
      room.wait(lock, stop, [&] { return next >= last || next < used + std::ssize(slots); });
      if (stop.stop_requested() || next >= last) return;
      const int64_t i = next++;
      lock.unlock();
      Slot made;
      try {
        made.result = make(i);
      } catch (...) {
        made.error = std::current_exception();
      }
      lock.lock();
      slot_of(i) = std::move(made);
      ready.notify_one();
    }
  };
  std::vector<std::jthread> pool;  // stops and joins before what it works on goes
  for (int i = 0; i < threads; ++i) pool.emplace_back(work);
  for (int64_t i = first; i < last; ++i) {
    Slot taken;
    {
      std::unique_lock lock(mutex);
      Slot& slot = slot_of(i);
      ready.wait(lock, [&] { return slot.result || slot.error; });
      std::swap(taken, slot);
      used = i + 1;
    }
    room.notify_one();
    if (taken.error) std::rethrow_exception(taken.error);
    use(i, std::move(*taken.result));
  }
}

}  // namespace thinwire
