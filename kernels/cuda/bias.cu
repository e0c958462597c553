#include "kernels/cuda/bias.h"

#include "kernels/cuda/column_sums.cuh"

namespace thinwire::cuda {
namespace {

struct BiasSum {
  double value = 0;

  __device__ void Add(const volatile BiasSum& other) { value += other.value; }
};

template <int kWidth>
__global__ void __launch_bounds__(kColumnThreads)
    AddBiasKernel(ColumnGrid grid, const float* bias, float* y) {
  const int64_t channel = grid.Channel();
  if (channel >= grid.channels) return;
  float own[kWidth];
#pragma unroll
  for (int k = 0; k < kWidth; ++k) own[k] = bias[channel + k];
  for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
    float* at = y + row * grid.channels + channel;
    auto values = Load<kWidth>(at);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) values.lanes[k] += own[k];
    Store<kWidth>(at, values);
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kColumnThreads)
    BiasGradientKernel(ColumnGrid grid, ReductionMemory<BiasSum> memory, const float* y_gradient,
                       float* bias_gradient) {
  const int64_t channel = grid.Channel();
  BiasSum sums[kWidth];
  if (channel < grid.channels) {
    for (int64_t row = grid.FirstRow(); row < grid.rows; row += grid.RowStep()) {
      const auto values = Load<kWidth>(y_gradient + row * grid.channels + channel);
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
  const ColumnGrid grid(queue, rows, bias.size, AllAligned(y), kMaxRowBlocks);
  Launch("add_bias", queue, grid.Blocks(),
         grid.width > 1 ? AddBiasKernel<kFullWidth<float>> : AddBiasKernel<1>, grid,
         bias.as<float>(), y.as<float>());
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
  const ColumnGrid grid(queue_, rows_, channels_, AllAligned(y_gradient), kMaxRowBlocks);
  const ReductionMemory<BiasSum> memory{device_.workspace().as<BiasSum>(),
                                        static_cast<unsigned*>(tickets_.data())};
  Launch("bias_gradient", queue_, grid.Blocks(),
         grid.width > 1 ? BiasGradientKernel<kFullWidth<float>> : BiasGradientKernel<1>, grid,
         memory, y_gradient.as<float>(), bias_gradient.as<float>());
}

}  // namespace thinwire::cuda
