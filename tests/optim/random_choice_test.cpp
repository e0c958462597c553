#include "optim/random_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace thinwire {
namespace {

using Indices = std::vector<int32_t>;

Indices Choose(const std::vector<Range>& ranges, int64_t k, const RandomChoice& choice = {}) {
  Indices indices;
  ChooseRandomly(ranges, k, choice, indices);
  return indices;
}

TEST(RandomChoiceTest, ChoosesDistinctElementsOfTheRanges) {
  for (const int64_t size : {1, 31, 32, 33, 127, 128, 129, 1'048'583}) {
    for (const int64_t k : {int64_t{0}, int64_t{1}, size / 62, size / 2, size - 1, size}) {
      const Range first{3, 3 + size / 3}, second{200 + size, 200 + 2 * size - size / 3};
      const Indices indices = Choose({first, {first.end, first.end}, second}, k);
      ASSERT_EQ(std::ssize(indices), k);
      for (size_t i = 0; i < indices.size(); ++i) {
        ASSERT_TRUE(i == 0 || indices[i - 1] < indices[i]);
        ASSERT_TRUE((indices[i] >= first.begin && indices[i] < first.end) ||
                    (indices[i] >= second.begin && indices[i] < second.end));
      }
    }
  }
}

TEST(RandomChoiceTest, ReachesAllOfALargeRange) {
  constexpr int64_t kEnd = (int64_t{1} << 31) - 1;
  const Indices indices = Choose({{0, kEnd}}, 10'000);
  ASSERT_EQ(indices.size(), 10'000u);
  EXPECT_LT(indices.front(), kEnd / 500);
  EXPECT_GT(indices.back(), kEnd - kEnd / 500);
}

TEST(RandomChoiceTest, IsAFunctionOfSeedStepRankAndDirection) {
  const std::vector<Range> ranges{{0, 1000}};
  const RandomChoice choice{.seed = 1, .step = 2, .rank = 3, .direction = Direction::kUp};
  Indices reused{5, 6, 7};
  ChooseRandomly(ranges, 20, choice, reused);
  EXPECT_EQ(reused, Choose(ranges, 20, choice));

  std::set<Indices> different{reused};
  RandomChoice other = choice;
  other.seed = 2;
  different.insert(Choose(ranges, 20, other));
  other = choice;
  other.step = 3;
  different.insert(Choose(ranges, 20, other));
  other = choice;
  other.rank = 2;
  different.insert(Choose(ranges, 20, other));
  other = choice;
  other.direction = Direction::kDown;
  different.insert(Choose(ranges, 20, other));
  EXPECT_EQ(different.size(), 5u);
}

/// Pearson's statistic of all 20 subsets of 3 of 6 elements; above the bound by chance once in 1e9.
TEST(RandomChoiceTest, EverySubsetIsAsLikely) {
  constexpr int kDraws = 20'000;
  std::vector<int> counts(64);
  for (int step = 0; step < kDraws; ++step) {
    int subset = 0;
    for (const int32_t index : Choose({{10, 12}, {20, 24}}, 3, {.step = step})) {
      subset |= 1 << (index < 12 ? index - 10 : index - 18);
    }
    ++counts[subset];
  }
  double chi_square = 0;
  int subsets = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    ++subsets;
    chi_square += std::pow(count - kDraws / 20.0, 2) / (kDraws / 20.0);
  }
  EXPECT_EQ(subsets, 20);
  EXPECT_LT(chi_square, 86);
}

/// Likewise where in a long range the choices of one call lie.
TEST(RandomChoiceTest, SpreadsEvenly) {
  constexpr int64_t kSize = 11'173'962, kCount = 176'000, kBins = 100;
  std::vector<double> counts(kBins);
  for (const int32_t index : Choose({{0, kSize}}, kCount)) ++counts[index * kBins / kSize];
  double chi_square = 0;
  for (const double count : counts) {
    chi_square += std::pow(count - kCount / kBins, 2) / (kCount / kBins);
  }
  EXPECT_LT(chi_square, 210);
}

TEST(RandomChoiceTest, WithinIsTheShardsPart) {
  const Indices indices = Choose({{0, 1000}}, 100);
  for (const Range shard : {Range{0, 1000}, Range{250, 500}, Range{999, 1000}, Range{500, 500}}) {
    Indices expected;
    for (const int32_t index : indices) {
      if (index >= shard.begin && index < shard.end) expected.push_back(index);
    }
    const auto part = Within(indices, shard);
    EXPECT_EQ(Indices(part.begin(), part.end()), expected);
  }
  EXPECT_TRUE(Within({}, {0, 10}).empty());
}

}  // namespace
}  // namespace thinwire
