#include "kernels/cpu/image_mix.h"

#include "kernels/bfloat16.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

float Number(float value) { return value; }
float Number(BFloat16 value) { return ToFloat(value); }
void Store(float value, float& to) { to = value; }
void Store(float value, BFloat16& to) { to = ToBFloat16(value); }

template <typename T>
void MixPairs(const ImageMix& mix, const ImageMixShape& s, View images) {
  const int64_t size = s.image_size(), rows = images.size / size;
  const float own = mix.own_pixels, other = 1 - own;
  cpu::ParallelChunks(rows / 2, [&](int64_t i) {
    T* const first = images.as<T>() + i * size;
    T* const second = images.as<T>() + (rows - 1 - i) * size;
    for (int64_t y = mix.top; y < mix.bottom; ++y) {
      const int64_t row = y * s.width;
      for (int64_t at = (row + mix.left) * s.channels; at < (row + mix.right) * s.channels; ++at) {
        const float a = Number(first[at]), b = Number(second[at]);
        Store(own * a + other * b, first[at]);
        Store(own * b + other * a, second[at]);
      }
    }
  });
}

}  // namespace

void cpu::MixImages(const ImageMix& mix, const ImageMixShape& shape, View images) {
  if (images.type == DataType::kBFloat16) return MixPairs<BFloat16>(mix, shape, images);
  MixPairs<float>(mix, shape, images);
}

}  // namespace thinwire
