#include "layers/gradient_buckets.h"

#include <algorithm>

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

std::vector<GradientBucket> MakeGradientBuckets(std::span<const Range> ranges,
                                                std::span<const std::vector<Range>> written) {
  std::vector<GradientBucket> buckets;
  for (const Range& range : ranges) buckets.push_back({range, LastStep(written, range)});
  std::stable_sort(
      buckets.begin(), buckets.end(),
      [](const GradientBucket& a, const GradientBucket& b) { return a.step < b.step; });
  return buckets;
}

}  // namespace thinwire
