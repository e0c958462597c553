#include "datasets/random_operations.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kOperationsKey = 0x6f7065726174696f;  // keeps apart from other uses of a seed
constexpr uint32_t kOperations = static_cast<uint32_t>(ImageOperation::kEqualize) + 1;

/// @param strength In [0, 1]. @param sign Of those that go both ways.
double Magnitude(ImageOperation operation, double strength, int sign, int64_t size) {
  switch (operation) {
    case ImageOperation::kShearX:
    case ImageOperation::kShearY:
      return sign * 0.3 * strength;
    case ImageOperation::kTranslateX:
    case ImageOperation::kTranslateY:
      return sign * std::floor(150.0 / 331 * static_cast<double>(size) * strength);
    case ImageOperation::kRotate:
      return sign * 30 * strength;
    case ImageOperation::kBrightness:
    case ImageOperation::kSaturation:
    case ImageOperation::kContrast:
    case ImageOperation::kSharpness:
      return 1 + sign * 0.9 * strength;
    case ImageOperation::kPosterize:
      return 8 - std::nearbyint(4 * strength);
    case ImageOperation::kSolarize:
      return 255 * (1 - strength);
    case ImageOperation::kIdentity:
    case ImageOperation::kAutoContrast:
    case ImageOperation::kEqualize:
      break;
  }
  return 0;
}

}  // namespace

std::vector<DrawnOperation> DrawOperations(const AugmentationOptions& options, int64_t size,
                                           uint64_t seed, int64_t epoch, int64_t index) {
  RandomStream random(seed ^ kOperationsKey,
                      static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(index));
  std::vector<DrawnOperation> drawn;
  const double strength = static_cast<double>(options.randaugment_magnitude) / kMostMagnitude;
  for (int64_t i = 0; i < options.randaugment_operations; ++i) {
    const auto operation = static_cast<ImageOperation>(random.Below(kOperations));
    const int sign = random.Below(2) == 1 ? -1 : 1;
    drawn.push_back({operation, Magnitude(operation, strength, sign, size)});
  }
  if (options.color_jitter > 0) {
    std::array jitters = {ImageOperation::kBrightness, ImageOperation::kContrast,
                          ImageOperation::kSaturation};
    for (uint32_t left = 3; left > 0; --left) {
      std::swap(jitters[left - 1], jitters[random.Below(left)]);
      const double factor = 1 + options.color_jitter * (2 * double{random.Uniform()} - 1);
      drawn.push_back({jitters[left - 1], std::max(factor, 0.0)});
    }
  }
  return drawn;
}

}  // namespace thinwire
