#include "train/ordered_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>

namespace thinwire {
namespace {

TEST(OrderedWork, ResultsComeInOrder) {
  for (const int threads : {1, 2, 7}) {
    for (const int64_t count : {0, 1, 5, 200}) {
      std::vector<int64_t> seen;
      std::atomic<int64_t> made = 0;
      WorkInOrder<int64_t>(
          3, 3 + count, threads,
          [&](int64_t i) {
            if (i % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
            ++made;
            return i * i;
          },
          [&](int64_t i, int64_t result) {
            EXPECT_EQ(result, i * i);
            seen.push_back(i);
            EXPECT_LE(made - std::ssize(seen) + 1, 4 * threads + 1);  // memory is bounded
          });
      ASSERT_EQ(std::ssize(seen), count);
      for (int64_t i = 0; i < count; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], 3 + i);
    }
  }
}

TEST(OrderedWork, TheFirstErrorInOrderIsThrown) {
  for (int repetition = 0; repetition < 20; ++repetition) {
    int64_t used = 0;
    try {
      WorkInOrder<int>(
          0, 100, 4,
          [&](int64_t i) -> int {
            if (i == 12) std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (i == 12 || i == 13) throw std::runtime_error(std::to_string(i));
            return 0;
          },
          [&](int64_t i, int) { used = i + 1; });
      ADD_FAILURE() << "no error";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(std::string(error.what()), "12");
    }
    EXPECT_EQ(used, 12);
  }
  EXPECT_THROW(WorkInOrder<int>(
                   0, 100, 3, [](int64_t) { return 0; },
                   [](int64_t i, int) {
                     if (i == 40) throw std::runtime_error("the disk is full");
                   }),
               std::runtime_error);
}

}  // namespace
}  // namespace thinwire
