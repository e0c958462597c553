#include "kernels/arena_buckets.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace thinwire {
namespace {

/// The last one first.
std::array<Range, 2> GroupsOf(const ParameterArena& arena) {
  return {Range{arena.decayed_size(), arena.padded_size()}, Range{0, arena.decayed_size()}};
}

}  // namespace

std::vector<Range> CutEvenly(const ParameterArena& arena, int64_t elements) {
  assert(elements > 0 && elements % ParameterArena::kAlignment == 0);
  std::vector<Range> ranges;
  for (const Range& group : GroupsOf(arena)) {
    for (int64_t end = group.end; end > group.begin; end -= elements) {
      ranges.push_back({std::max(group.begin, end - elements), end});
    }
  }
  std::reverse(ranges.begin(), ranges.end());
  return ranges;
}

std::vector<Range> CutAtTensors(const ParameterArena& arena, int64_t elements) {
  if (arena.padded_size() <= elements) return {{0, arena.padded_size()}};
  std::vector<Range> ranges;
  int64_t end = arena.padded_size();
  for (auto segment = arena.segments().rbegin(); segment != arena.segments().rend(); ++segment) {
    const int64_t begin = segment->offset;
    const bool starts_group = begin == 0 || begin == arena.decayed_size();
    if (end - begin < elements && !starts_group) continue;
    ranges.push_back({begin, end});
    end = begin;
  }
  std::reverse(ranges.begin(), ranges.end());
  return ranges;
}

}  // namespace thinwire
