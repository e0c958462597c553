// Passes over the pixels of a batch of images, a thread some neighbouring channels of one pixel.
#pragma once

#include "kernels/cuda/flat.cuh"

namespace thinwire::cuda {

constexpr int kPixelThreads = 256;

struct Pixel {
  int64_t image, row, column, channel;
};

/// Elements of a [images, height, width, channels] tensor, `vector` of them at a time.
struct PixelGrid {
  int64_t images = 0, height = 0, width = 0, channels = 0;

  __host__ __device__ int64_t Elements() const { return images * height * width * channels; }
  /// The pixel of element `i`.
  __device__ Pixel At(int64_t i) const {
    Pixel pixel{};
    pixel.channel = i % channels;
    const int64_t p = i / channels;
    pixel.column = p % width;
    pixel.row = p / width % height;
    pixel.image = p / width / height;
    return pixel;
  }
};

template <int kWidth, typename Body>
__global__ void __launch_bounds__(kPixelThreads) PixelKernel(PixelGrid grid, Body body) {
  const int64_t step = int64_t{gridDim.x} * kPixelThreads * kWidth;
  const int64_t elements = grid.Elements();
  for (int64_t i = (int64_t{blockIdx.x} * kPixelThreads + threadIdx.x) * kWidth; i < elements;
       i += step) {
    body.template At<kWidth>(i, grid.At(i));
  }
}

/// Launches `body`, which has `template <int kWidth> __device__ void At(int64_t i, const Pixel&)
/// const` for elements i to i + kWidth of type T, on all of the grid's.
template <typename T, typename Body>
void ForEachPixel(const char* name, const Queue& queue, const PixelGrid& grid, bool aligned,
                  const Body& body) {
  constexpr int kWidth = kFullWidth<T>;
  const int64_t elements = grid.Elements();
  if (aligned && grid.channels % kWidth == 0) {
    Launch(name, queue, GridFor(queue, elements / kWidth, kPixelThreads), PixelKernel<kWidth, Body>,
           grid, body);
  } else {
    Launch(name, queue, GridFor(queue, elements, kPixelThreads), PixelKernel<1, Body>, grid, body);
  }
}

}  // namespace thinwire::cuda
