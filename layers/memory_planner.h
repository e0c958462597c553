// Places blocks of memory with known lifetimes into one range.
#pragma once

#include <cstdint>
#include <vector>

namespace thinwire {

/// A block that must keep its contents from step `first` to step `last`, both included.
struct Lifetime {
  int64_t bytes = 0;
  int first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // of each block, multiples of kMemoryAlignment
  int64_t bytes = 0;             // of the whole range
};

/// Every block starts at a multiple of this many bytes.
inline constexpr int64_t kMemoryAlignment = 256;

constexpr int64_t AlignMemory(int64_t bytes) {
  return (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
}

/// Gives blocks whose lifetimes meet disjoint ranges. Greedy: the largest block first, each into
/// the tightest gap that is free during its whole lifetime (Pisarchyk and Lee, "Efficient Memory
/// Management for Deep Neural Net Inference", 2020). Empty blocks get offset 0.
MemoryPlan PlanMemory(const std::vector<Lifetime>& blocks);

/// The most that is alive in any one step: no plan can need less.
int64_t PeakLiveBytes(const std::vector<Lifetime>& blocks);

}  // namespace thinwire
