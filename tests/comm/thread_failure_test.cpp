// Ranks that are threads: what the others are told when one fails, ends or is stuck.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "comm/communicator.h"
#include "comm/failure.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

using std::chrono::milliseconds;

/// What Run throws, and how long it took.
struct Outcome {
  std::string message;
  double seconds;
};

Outcome RunGroup(int ranks, double timeout, const std::function<void(Communicator&)>& body) {
  ThreadGroup group(ranks, {.timeout_seconds = timeout});
  const double start = MonotonicSeconds();
  std::string message;
  try {
    // Nothing that may be left behind refers to this function's variables.
    group.Run([&group, body](int rank) {
      const auto device = MakeCpuDevice(1);
      body(*group.Join(rank, *device));
    });
  } catch (const std::exception& error) {
    message = error.what();
  }
  return {message, MonotonicSeconds() - start};
}

void ExpectMentions(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
  }
}

TEST(ThreadFailure, TheCauseIsRethrownNotItsEchoes) {
  for (const int ranks : {1, 2, 3, 8, 20}) {
    std::atomic<int> echoes = 0;
    ThreadGroup group(ranks, {.timeout_seconds = 100});
    EXPECT_THROW(group.Run([&](int rank) {
      const auto device = MakeCpuDevice(1);
      const auto communicator = group.Join(rank, *device);
      communicator->SetStep(7);
      communicator->Barrier();
      if (rank == ranks / 2) throw std::out_of_range("the cause");
      try {
        communicator->AllGatherHost(1.0);
      } catch (const Error& error) {
        ExpectMentions(error.what(), {"all-gather of numbers at step 7", HostName(), "the cause",
                                      "rank " + std::to_string(ranks / 2)});
        ++echoes;
        throw;
      }
    }),
                 std::out_of_range);
    EXPECT_EQ(echoes, ranks - 1);
  }
}

TEST(ThreadFailure, AbortReleasesTheOthers) {
  const Outcome outcome = RunGroup(4, 100, [](Communicator& communicator) {
    if (communicator.rank() == 2) {
      communicator.Abort("its data set is gone");
      return;
    }
    communicator.Barrier();
  });
  ExpectMentions(outcome.message, {"rank 2", "its data set is gone", "barrier"});
  EXPECT_LT(outcome.seconds, 10);
}

TEST(ThreadFailure, NothingCanBeSentAfterwards) {
  ThreadGroup group(2, {.timeout_seconds = 100});
  EXPECT_THROW(group.Run([](int) { throw std::runtime_error("the cause"); }), std::runtime_error);
  EXPECT_THROW(group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    group.Join(rank, *device)->Barrier();
  }),
               Error);
}

TEST(ThreadFailure, ARankThatEndsEarlyIsNamedAtOnce) {
  const Outcome outcome = RunGroup(3, 100, [](Communicator& communicator) {
    communicator.SetStep(3);
    if (communicator.rank() != 1) communicator.Barrier();
  });
  ExpectMentions(outcome.message, {"barrier at step 3", "rank 1 on " + HostName(), "has ended"});
  EXPECT_LT(outcome.seconds, 10);
}

TEST(ThreadFailure, ASilentRankIsNamed) {
  for (const int ranks : {2, 20}) {
    const Outcome outcome = RunGroup(ranks, 0.5, [](Communicator& communicator) {
      communicator.SetStep(11);
      communicator.Barrier();
      if (communicator.rank() == 1) std::this_thread::sleep_for(milliseconds(1500));
      communicator.AllGatherHost(int64_t{1});
    });
    ExpectMentions(outcome.message, {"all-gather of counts at step 11", "no progress for 0.5 s",
                                     "rank 1 on " + HostName(), "--dist-timeout"});
    EXPECT_GE(outcome.seconds, 0.5);
    EXPECT_LT(outcome.seconds, 8);
  }
}

TEST(ThreadFailure, ARankThatMakesProgressIsAwaited) {
  const Outcome outcome = RunGroup(3, 0.5, [](Communicator& communicator) {
    for (int i = 0; i < 30 && communicator.rank() == 1; ++i) {
      std::this_thread::sleep_for(milliseconds(50));
      communicator.Progress();
    }
    communicator.Barrier();
  });
  EXPECT_EQ(outcome.message, "");
  EXPECT_GE(outcome.seconds, 1.5);
}

TEST(ThreadFailure, AStuckRankIsLeftBehind) {
  struct Latch {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false, woken = false;
  };
  const auto latch = std::make_shared<Latch>();
  std::string message;
  {
    // The stuck thread may outlive the group, so it holds it, too.
    const auto group = std::make_shared<ThreadGroup>(3, CommunicatorOptions{0.5});
    const double start = MonotonicSeconds();
    try {
      group->Run([latch, group](int rank) {
        const auto device = MakeCpuDevice(1);
        const auto communicator = group->Join(rank, *device);
        if (rank == 2) {
          std::unique_lock lock(latch->mutex);
          latch->changed.wait(lock, [&] { return latch->open; });
          lock.unlock();
          EXPECT_THROW(communicator->Barrier(), Error);
          lock.lock();
          latch->woken = true;
          latch->changed.notify_all();
          return;
        }
        communicator->Barrier();
      });
    } catch (const Error& error) {
      message = error.what();
    }
    EXPECT_LT(MonotonicSeconds() - start, 8);
  }
  ExpectMentions(message, {"barrier", "rank 2", "no progress"});
  // It wakes when all is over, and finds out.
  std::unique_lock lock(latch->mutex);
  latch->open = true;
  latch->changed.notify_all();
  EXPECT_TRUE(
      latch->changed.wait_for(lock, std::chrono::seconds(30), [&] { return latch->woken; }));
}

TEST(ThreadFailure, DifferentCallsAreAnError) {
  const Outcome calls = RunGroup(3, 100, [](Communicator& communicator) {
    if (communicator.rank() == 1) {
      communicator.Barrier();
    } else {
      communicator.AllGatherHost(1.0);
    }
  });
  ExpectMentions(calls.message, {"all ranks have to run the same program"});
  EXPECT_LT(calls.seconds, 10);

  const Outcome sizes = RunGroup(3, 100, [](Communicator& communicator) {
    std::array<uint8_t, 300> memory{};
    const int64_t count = communicator.rank() == 1 ? 100 : 90;
    const std::vector<int64_t> counts(3, count);
    const View view = {memory.data(), 300, DataType::kUint8};
    std::array<uint8_t, 300> received{};
    communicator.AllToAll(view, counts, {received.data(), 300, DataType::kUint8}, counts,
                          Purpose::kUplink);
  });
  ExpectMentions(sizes.message, {"all-to-all at step 0", "has another size"});

  const Outcome roots = RunGroup(2, 100, [](Communicator& communicator) {
    int32_t word = 0;
    communicator.Broadcast({&word, 1, DataType::kInt32}, communicator.rank(), Purpose::kControl);
  });
  ExpectMentions(roots.message, {"broadcast at step 0"});
}

TEST(ThreadFailure, WrongUse) {
  EXPECT_THROW(ThreadGroup(0), Error);
  ThreadGroup group(2);
  const auto device = MakeCpuDevice(1);
  EXPECT_THROW(group.Join(2, *device), Error);
  EXPECT_THROW(group.Join(-1, *device), Error);
}

}  // namespace
}  // namespace thinwire
