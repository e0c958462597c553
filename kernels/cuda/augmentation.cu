// A warp writes a row of an image at a time, and looks every byte up in shared memory.
#include "kernels/cuda/augmentation.h"

#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/upload.h"
#include "kernels/cuda/warp.cuh"

namespace thinwire::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAnyChannels = 0;

template <typename T>
struct Arguments {
  AugmentationShape shape;
  const float* table;
  const uint8_t* images;
  const Augmentation* augmentations;
  int64_t rows;  // images that there are
  T* output;
};

template <int kChannels, int kWidth, typename T>
__global__ void __launch_bounds__(kThreads) AugmentKernel(Arguments<T> a) {
  extern __shared__ float table[];
  const AugmentationShape& s = a.shape;
  const int channels = kChannels == kAnyChannels ? static_cast<int>(s.channels) : kChannels;
  const int width = static_cast<int>(s.width), cutout = static_cast<int>(s.cutout);
  for (int i = threadIdx.x; i < channels * static_cast<int>(kByteValues); i += kThreads) {
    table[i] = a.table[i];
  }
  __syncthreads();

  const int lane = threadIdx.x % kWarp, row_size = width * channels;
  const int64_t step = int64_t{gridDim.x} * (kThreads / kWarp);
  for (int64_t row = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
       row < s.batch * s.height; row += step) {
    const int64_t image = row / s.height;
    const int y = static_cast<int>(row % s.height);
    const bool exists = image < a.rows;
    const Augmentation augmentation = exists ? a.augmentations[image] : Augmentation{};
    const int source_y = y + augmentation.shift_y;
    const bool inside_y = source_y >= 0 && source_y < s.height;
    const uint8_t* const source = a.images + (image * s.height + source_y) * row_size;
    const int top = augmentation.cutout_y - cutout / 2, left = augmentation.cutout_x - cutout / 2;
    const bool cut_y = y >= top && y < top + cutout;
    for (int at = lane * kWidth; at < row_size; at += kWarp * kWidth) {
      Vector<float, kWidth> values;
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const int x = (at + k) / channels, channel = (at + k) % channels;
        const int source_x = (augmentation.flip != 0 ? width - 1 - x : x) + augmentation.shift_x;
        const bool inside = exists && inside_y && source_x >= 0 && source_x < width;
        const int byte = inside ? source[source_x * channels + channel] : 0;
        const bool cut = cut_y && x >= left && x < left + cutout;
        values.lanes[k] =
            exists && !cut ? table[channel * static_cast<int>(kByteValues) + byte] : 0;
      }
      StoreNumbers<kWidth>(a.output + row * row_size + at, values);
    }
  }
}

class CudaAugmentation : public ImageAugmentation {
 public:
  CudaAugmentation(Device& device, const Queue& queue, const AugmentationShape& shape,
                   std::span<const float> table)
      : queue_(queue), shape_(shape), table_(Upload(device, table)) {}

  void Run(ConstView images, ConstView augmentations, View output) override {
    WithActivationType(output.type, [&]<typename T>() { RunAs<T>(images, augmentations, output); });
  }

 private:
  template <typename T>
  void RunAs(ConstView images, ConstView augmentations, View output) {
    const Arguments<T> a = {.shape = shape_,
                            .table = static_cast<const float*>(table_.data()),
                            .images = images.as<uint8_t>(),
                            .augmentations = static_cast<const Augmentation*>(augmentations.data),
                            .rows = images.size / shape_.image_size(),
                            .output = output.as<T>()};
    Grid grid = GridFor(queue_, shape_.batch * shape_.height * kWarp, kThreads);
    grid.shared_bytes = table_.bytes();
    constexpr int kFull = kFullWidth<T>;
    const bool vectors = shape_.width * shape_.channels % kFull == 0 && AllAligned(output);
    auto kernel = AugmentKernel<kAnyChannels, 1, T>;
    if (vectors && shape_.channels == 1) kernel = AugmentKernel<1, kFull, T>;
    if (vectors && shape_.channels == 3) kernel = AugmentKernel<3, kFull, T>;
    Launch("augmentation", queue_, grid, kernel, a);
  }

  Queue queue_;
  AugmentationShape shape_;
  Buffer table_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<ImageAugmentation> MakeCudaAugmentation(Device& device, const cuda::Queue& queue,
                                                        const AugmentationShape& shape,
                                                        std::span<const float> table) {
  CheckShape(shape, table);
  return std::make_unique<cuda::CudaAugmentation>(device, queue, shape, table);
}

}  // namespace thinwire
