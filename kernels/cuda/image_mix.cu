// A pass over the first half of a batch; each thread mixes both images of a pair, in place. What
// lies outside of the box is not read.
#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/image_mix.h"

namespace thinwire::cuda {
namespace {

template <typename T>
struct MixBody {
  T* images;
  int64_t rows;
  int size, row_size, channels;  // in elements: of an image, of a row of it, of a pixel
  StepArgument<ImageMix> mix;

  template <int kWidth>
  __device__ void At(int64_t i) const {
    const ImageMix m = mix.Get();
    const int64_t pair = i / size;
    const int at = static_cast<int>(i % size);
    int y = at / row_size, x = at % row_size;
    bool inside[kWidth], any = false;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      inside[lane] = y >= m.top && y < m.bottom && x >= m.left * channels && x < m.right * channels;
      any = any || inside[lane];
      if (++x < row_size) continue;
      x = 0;
      ++y;
    }
    if (!any) return;
    T* const first = images + pair * size + at;
    T* const second = images + (rows - 1 - pair) * size + at;
    auto a = LoadNumbers<kWidth>(first), b = LoadNumbers<kWidth>(second);
    const float own = m.own_pixels, other = 1 - own;
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) {
      if (!inside[lane]) continue;
      const float mixed = own * a.lanes[lane] + other * b.lanes[lane];
      b.lanes[lane] = own * b.lanes[lane] + other * a.lanes[lane];
      a.lanes[lane] = mixed;
    }
    StoreNumbers<kWidth>(first, a);
    StoreNumbers<kWidth>(second, b);
  }
};

}  // namespace

void MixImages(const Queue& queue, const ImageMix& mix, const ImageMixShape& shape, View images) {
  WithActivationType(images.type, [&]<typename T>() {
    const int64_t size = shape.image_size(), rows = images.size / size;
    const MixBody<T> body{.images = images.as<T>(),
                          .rows = rows,
                          .size = static_cast<int>(size),
                          .row_size = static_cast<int>(shape.width * shape.channels),
                          .channels = static_cast<int>(shape.channels),
                          .mix = MakeStepArgument(queue, mix)};
    // Images of other sizes begin at all addresses.
    const bool aligned = AllAligned(images) && size % kFullWidth<T> == 0;
    ForEach<T>("mix_images", queue, rows / 2 * size, aligned, body);
  });
}

}  // namespace thinwire::cuda
