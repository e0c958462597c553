#include "layers/gradient_buckets.h"

#include <algorithm>
#include <cassert>

namespace thinwire {
namespace {

/// The last step that writes some of `range`; padding has none.
size_t LastStep(std::span<const std::vector<Range>> written, const Range& range) {
  for (size_t step = written.size(); step-- > 0;) {
    for (const Range& tensor : written[step]) {
      if (tensor.begin < range.end && range.begin < tensor.end) return step;
    }
  }
  return 0;
}

}  // namespace

std::vector<GradientBucket> MakeGradientBuckets(const ParameterArena& arena,
                                                std::span<const std::vector<Range>> written,
                                                int64_t elements) {
  assert(elements > 0 && elements % ParameterArena::kAlignment == 0);
  std::vector<GradientBucket> buckets;
  for (const Range& group :
       {Range{0, arena.decayed_size()}, Range{arena.decayed_size(), arena.padded_size()}}) {
    for (int64_t end = group.end; end > group.begin; end -= elements) {
      const Range range{std::max(group.begin, end - elements), end};
      buckets.push_back({range, LastStep(written, range)});
    }
  }
  std::stable_sort(
      buckets.begin(), buckets.end(),
      [](const GradientBucket& a, const GradientBucket& b) { return a.step < b.step; });
  return buckets;
}

}  // namespace thinwire
