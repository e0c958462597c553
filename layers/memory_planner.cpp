#include "layers/memory_planner.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

namespace thinwire {
namespace {

bool Meet(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

MemoryPlan PlanMemory(const std::vector<Lifetime>& blocks) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });

  MemoryPlan plan{std::vector<int64_t>(blocks.size(), 0), 0};
  std::vector<size_t> placed;  // by offset
  for (const size_t block : order) {
    const int64_t bytes = AlignMemory(blocks[block].bytes);
    if (bytes == 0) continue;
    int64_t best_offset = -1, best_gap = std::numeric_limits<int64_t>::max(), end = 0;
    for (const size_t other : placed) {
      if (!Meet(blocks[block], blocks[other])) continue;
      const int64_t gap = plan.offsets[other] - end;
      if (gap >= bytes && gap < best_gap) {
        best_gap = gap;
        best_offset = end;
      }
      end = std::max(end, plan.offsets[other] + AlignMemory(blocks[other].bytes));
    }
    plan.offsets[block] = best_offset >= 0 ? best_offset : end;
    plan.bytes = std::max(plan.bytes, plan.offsets[block] + bytes);
    placed.insert(std::upper_bound(
                      placed.begin(), placed.end(), plan.offsets[block],
                      [&](int64_t offset, size_t other) { return offset < plan.offsets[other]; }),
                  block);
  }
  return plan;
}

int64_t PeakLiveBytes(const std::vector<Lifetime>& blocks) {
  std::map<int, int64_t> changes;
  for (const Lifetime& block : blocks) {
    changes[block.first] += AlignMemory(block.bytes);
    changes[block.last + 1] -= AlignMemory(block.bytes);
  }
  int64_t live = 0, peak = 0;
  for (const auto& [step, change] : changes) peak = std::max(peak, live += change);
  return peak;
}

}  // namespace thinwire
