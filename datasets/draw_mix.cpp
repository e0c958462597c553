#include "datasets/draw_mix.h"

#include <algorithm>
#include <cmath>

#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kMixKey = 0x6D69786564696D67;  // keeps the draws apart from all others
constexpr uint64_t kRankKey = 0x9E3779B97F4A7C15;

double Uniform(RandomStream& random) {  // in (0, 1)
  return (static_cast<double>(random.Next()) + 0.5) * 0x1p-32;
}

/// The logarithm of a number of the gamma distribution, which for small `alpha` is too small itself
/// (Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", 2000).
double LogGamma(RandomStream& random, double alpha) {
  const double d = alpha + 1 - 1.0 / 3, c = 1 / std::sqrt(9 * d);  // for alpha + 1
  while (true) {
    const double x = random.Normal(), root = 1 + c * x;
    const double u = Uniform(random);
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(u) >= x * x / 2 + d - d * v + d * std::log(v)) continue;
    return std::log(d * v) + std::log(Uniform(random)) / alpha;
  }
}

double Beta(RandomStream& random, double alpha) {
  const double first = LogGamma(random, alpha), second = LogGamma(random, alpha);
  return 1 / (1 + std::exp(second - first));
}

}  // namespace

ImageMix DrawMix(const MixOptions& options, const MixedBatch& batch, int64_t height,
                 int64_t width) {
  RandomStream random(
      batch.seed ^ kMixKey ^ kRankKey * static_cast<uint64_t>(batch.rank),
      static_cast<uint64_t>(batch.epoch) << 32 | static_cast<uint64_t>(batch.index));
  const bool cutmix_of_both = random.Below(2) == 1;
  const bool cutmix = options.cutmix > 0 && (options.mixup == 0 || cutmix_of_both);
  const double share = Beta(random, cutmix ? options.cutmix : options.mixup);
  ImageMix mix;
  if (!cutmix) {
    mix.own_pixels = mix.own_label = static_cast<float>(share);
    mix.bottom = static_cast<int32_t>(height);
    mix.right = static_cast<int32_t>(width);
    return mix;
  }
  mix.own_pixels = 0;
  const double half = std::sqrt(1 - share) / 2;
  const auto draw = [&](int64_t size, int32_t& begin, int32_t& end) {
    const auto side = static_cast<int64_t>(half * static_cast<double>(size));
    const int64_t centre = random.Below(static_cast<uint32_t>(size));
    begin = static_cast<int32_t>(std::max<int64_t>(centre - side, 0));
    end = static_cast<int32_t>(std::min(centre + side, size));
  };
  draw(height, mix.top, mix.bottom);
  draw(width, mix.left, mix.right);
  const auto area = static_cast<double>((mix.bottom - mix.top) * (mix.right - mix.left));
  mix.own_label = static_cast<float>(1 - area / static_cast<double>(height * width));
  return mix;
}

}  // namespace thinwire
