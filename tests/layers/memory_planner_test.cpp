#include "layers/memory_planner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr int64_t kUnit = kMemoryAlignment;

void ExpectValid(const std::vector<Lifetime>& blocks, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), blocks.size());
  int64_t end = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_GE(plan.offsets[i], 0);
    EXPECT_EQ(plan.offsets[i] % kMemoryAlignment, 0);
    end = std::max(end, plan.offsets[i] + AlignMemory(blocks[i].bytes));
    for (size_t j = 0; j < i; ++j) {
      const bool in_time = blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;
      const bool in_space = plan.offsets[i] < plan.offsets[j] + blocks[j].bytes &&
                            plan.offsets[j] < plan.offsets[i] + blocks[i].bytes;
      EXPECT_FALSE(in_time && in_space) << "blocks " << i << " and " << j;
    }
  }
  EXPECT_EQ(plan.bytes, end);
  EXPECT_GE(plan.bytes, PeakLiveBytes(blocks));
}

TEST(MemoryPlanner, NothingNeedsNothing) {
  EXPECT_EQ(PlanMemory({}).bytes, 0);
  EXPECT_EQ(PlanMemory({{0, 0, 5}}).bytes, 0);
  EXPECT_EQ(PeakLiveBytes({}), 0);
}

TEST(MemoryPlanner, AChainTakesTurnsInTwoPlaces) {
  // Each block is written in one step and read in the next.
  const std::vector<Lifetime> blocks = {{kUnit, 0, 1}, {kUnit, 1, 2}, {kUnit, 2, 3}, {kUnit, 3, 4}};
  const MemoryPlan plan = PlanMemory(blocks);
  EXPECT_EQ(plan.offsets, (std::vector<int64_t>{0, kUnit, 0, kUnit}));
  EXPECT_EQ(plan.bytes, 2 * kUnit);
}

TEST(MemoryPlanner, TheTightestGapIsTaken) {
  // Three blocks in the steps 0 to 3, of which the 3-unit and the 2-unit one end before the last
  // block of 2 units begins: it goes where 2 units were, not where 3 were.
  const std::vector<Lifetime> blocks = {{4 * kUnit, 0, 9}, {3 * kUnit, 0, 3}, {3 * kUnit, 0, 9},
                                        {2 * kUnit, 0, 3}, {2 * kUnit, 0, 9}, {2 * kUnit, 5, 9}};
  const MemoryPlan plan = PlanMemory(blocks);
  EXPECT_EQ(plan.offsets,
            (std::vector<int64_t>{0, 4 * kUnit, 7 * kUnit, 10 * kUnit, 12 * kUnit, 10 * kUnit}));
  EXPECT_EQ(plan.bytes, 14 * kUnit);
}

TEST(MemoryPlanner, BlocksThatMeetInOneStepAreApart) {
  const std::vector<Lifetime> blocks = {{1, 0, 3}, {1, 3, 5}};
  const MemoryPlan plan = PlanMemory(blocks);
  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
  EXPECT_EQ(plan.bytes, 2 * kUnit);
  EXPECT_EQ(PeakLiveBytes(blocks), 2 * kUnit);
}

TEST(MemoryPlanner, RandomLifetimesNeverCollide) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, 0);
    std::vector<Lifetime> blocks(random.Below(60));
    for (Lifetime& block : blocks) {
      block.bytes = random.Below(20) == 0 ? 0 : random.Below(5000);
      block.first = static_cast<int>(random.Below(40));
      block.last = block.first + static_cast<int>(random.Below(20));
    }
    SCOPED_TRACE(seed);
    ExpectValid(blocks, PlanMemory(blocks));
  }
}

}  // namespace
}  // namespace thinwire
