#include "kernels/cuda/bias.h"

#include "kernels/cuda/column_sums.cuh"

namespace thinwire::cuda {
namespace {

struct BiasSum {
  double value = 0;

  __device__ void Add(const volatile BiasSum& other) { value += other.value; }
};

template <int kWidth, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    AddBiasKernel(ColumnGrid grid, const T* bias, T* y) {
  const int64_t channel = grid.Channel();
  if (channel >= grid.channels) return;
  float own[kWidth];
#pragma unroll
  for (int k = 0; k < kWidth; ++k) own[k] = LoadNumbers<1>(bias + channel + k).lanes[0];
  for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
    T* at = y + row * grid.channels + channel;
    auto values = LoadNumbers<kWidth>(at);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) values.lanes[k] += own[k];
    StoreNumbers<kWidth>(at, values);
  }
}

template <int kWidth, typename T>
__global__ void __launch_bounds__(kColumnThreads)
    BiasGradientKernel(ColumnGrid grid, ReductionMemory<BiasSum> memory, const T* y_gradient,
                       float* bias_gradient) {
  const int64_t channel = grid.Channel();
  BiasSum sums[kWidth];
  if (channel < grid.channels) {
    for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
      const auto values = LoadNumbers<kWidth>(y_gradient + row * grid.channels + channel);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sums[k].value += static_cast<double>(values.lanes[k]);
    }
  }
  FinishColumns<kWidth>(grid, memory, sums, [&](int64_t c, const BiasSum& sum) {
    bias_gradient[c] = static_cast<float>(sum.value);
  });
}

}  // namespace

void AddBias(const Queue& queue, int64_t rows, ConstView bias, View y) {
  WithActivationType(y.type, [&]<typename T>() {
    constexpr int kFull = kFullWidth<T>;
    const ColumnGrid grid(queue, rows, bias.size, AllAligned(y) ? kFull : 1, kMaxRowBlocks);
    Launch("add_bias", queue, grid.Blocks(),
           grid.width > 1 ? AddBiasKernel<kFull, T> : AddBiasKernel<1, T>, grid, bias.as<T>(),
           y.as<T>());
  });
}

BiasGradient::BiasGradient(Device& device, const Queue& queue, int64_t rows, int64_t channels)
    : device_(device),
      queue_(queue),
      rows_(rows),
      channels_(channels),
      tickets_(device.Allocate(TicketBytes(queue, rows, channels))) {
  device.ReserveWorkspace(PartialBytes<BiasSum>(queue, rows, channels));
}

void BiasGradient::Run(ConstView y_gradient, View bias_gradient) {
  const ReductionMemory<BiasSum> memory{device_.workspace().as<BiasSum>(),
                                        static_cast<unsigned*>(tickets_.data())};
  WithActivationType(y_gradient.type, [&]<typename T>() {
    constexpr int kFull = kFullWidth<T>;
    const ColumnGrid grid(queue_, rows_, channels_, AllAligned(y_gradient) ? kFull : 1,
                          kMaxRowBlocks);
    Launch("bias_gradient", queue_, grid.Blocks(),
           grid.width > 1 ? BiasGradientKernel<kFull, T> : BiasGradientKernel<1, T>, grid, memory,
           y_gradient.as<T>(), bias_gradient.as<float>());
  });
}

}  // namespace thinwire::cuda
