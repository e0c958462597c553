#include "comm/rank_leases.h"

#include <gtest/gtest.h>

namespace thinwire {
namespace {

TEST(RankLeases, ARankIsToBlameForItself) {
  RankLeases leases(3);
  leases.Progressed(1, 10);
  EXPECT_EQ(leases.Blame(1), 1);
  EXPECT_EQ(leases.LastProgress(1, 5), 10);
  EXPECT_EQ(leases.LastProgress(1, 12), 12);
  EXPECT_EQ(leases.LastProgress(2, 5), 5);
}

TEST(RankLeases, ARankThatWaitsIsAsAliveAsTheOtherOne) {
  RankLeases leases(4);
  leases.Progressed(1, 10);
  leases.Waits(1, 2);
  leases.Waits(2, 3);
  leases.Progressed(3, 40);
  EXPECT_EQ(leases.Blame(1), 3);
  EXPECT_EQ(leases.LastProgress(1, 0), 40);
  leases.Progressed(2, 50);
  EXPECT_EQ(leases.Blame(1), 2);
  EXPECT_EQ(leases.LastProgress(1, 0), 50);
}

TEST(RankLeases, RanksThatWaitForEachOtherAreToBlameThemselves) {
  RankLeases leases(3);
  leases.Progressed(0, 1);
  leases.Progressed(1, 2);
  leases.Waits(0, 1);
  leases.Waits(1, 0);
  leases.Waits(2, 2);
  EXPECT_EQ(leases.Blame(0), 0);
  EXPECT_EQ(leases.Blame(1), 1);
  EXPECT_EQ(leases.Blame(2), 2);
  EXPECT_EQ(leases.LastProgress(1, 0), 2);
}

}  // namespace
}  // namespace thinwire
