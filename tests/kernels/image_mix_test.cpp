// Mixes of images against float64 loops.
#include "kernels/image_mix.h"

#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectNear;
using reference::Stored;
using reference::Tolerance;

template <typename Backend>
class ImageMixTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(ImageMixTest, Backends);

std::vector<double> Mixed(const ImageMix& mix, const ImageMixShape& s, int64_t rows,
                          const std::vector<float>& images) {
  std::vector<double> mixed(images.begin(), images.end());
  const double own = mix.own_pixels;
  for (int64_t i = 0; i < rows; ++i) {
    if (i == rows - 1 - i) continue;
    for (int64_t y = mix.top; y < mix.bottom; ++y) {
      for (int64_t x = mix.left; x < mix.right; ++x) {
        for (int64_t c = 0; c < s.channels; ++c) {
          const auto at = [&](int64_t row) {
            return static_cast<size_t>(((row * s.height + y) * s.width + x) * s.channels + c);
          };
          mixed[at(i)] = own * images[at(i)] + (1 - own) * images[at(rows - 1 - i)];
        }
      }
    }
  }
  return mixed;
}

TYPED_TEST(ImageMixTest, EqualsThePlainLoop) {
  for (const DataType type : {DataType::kFloat32, DataType::kBFloat16}) {
    for (const ImageMixShape& s :
         {ImageMixShape{1, 1, 1}, {5, 7, 3}, {28, 28, 1}, {32, 32, 3}, {3, 31, 2}}) {
      for (const int64_t rows : {0, 1, 2, 7, 32}) {
        const auto height = static_cast<int32_t>(s.height), width = static_cast<int32_t>(s.width);
        for (const ImageMix& mix : {ImageMix{0.3f, 0, height, 0, width},
                                    ImageMix{0, height / 3, height - height / 4, width / 2, width},
                                    ImageMix{0, 1, 1, 0, width}}) {
          for (const int64_t misalignment : {0, 1}) {
            const auto images = RoundTo(type, RandomNormal(rows * s.image_size(), 3));
            const ActivationBuffer buffer(*this->device_, type, images, misalignment);
            this->device_->MixImages(mix, s, buffer);
            const auto expected = Mixed(mix, s, rows, images);
            // Three roundings of numbers below 8; a swap has none.
            ExpectNear(buffer.Read(), expected, [&](size_t i) {
              return mix.own_pixels == 0 ? 0 : Stored(type, Tolerance(3, 8), expected[i]);
            });
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace thinwire
