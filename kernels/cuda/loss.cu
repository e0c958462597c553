// Softmax cross-entropy, a warp a row, in float64: logits are few. The block that finishes last
// adds up the rows.
#include <cmath>

#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/warp.cuh"

namespace thinwire::cuda {
namespace {

constexpr int kThreads = 256;

struct RowResult {
  double loss;
  int counted, top1, top5;
};

template <typename T>
struct Arguments {
  const T* logits;
  const int32_t* labels;
  T* gradient;  // optional
  float gradient_scale, label_smoothing;
  StepArgument<float> own_label;
  int64_t rows, classes;
  RowResult* row_results;
  LossResult* results;
  StepArgument<int64_t> place;  // of this one among the results
  unsigned* ticket;             // 0 between launches
};

__device__ float WarpMaximum(float value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

/// A non-finite logit or a label that is not a class makes loss and gradient NaN. The result is
/// lane 0's.
template <typename T>
__device__ RowResult RunRow(const Arguments<T>& a, int64_t row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto logit_of = [&](int64_t j) {
    return LoadNumbers<1>(a.logits + row * a.classes + j).lanes[0];
  };
  const auto store = [&](int64_t j, float value) {
    StoreNumbers<1>(a.gradient + row * a.classes + j, {{value}});
  };
  // The heavier label first; twice the same if there is but one.
  int32_t label = a.labels[row], second = label;
  double first_weight = 1;
  const float own_label = a.own_label.Get();
  const int32_t partner = a.labels[a.rows - 1 - row];
  if (label >= 0 && partner >= 0 && own_label != 1) {
    const double weight = static_cast<double>(own_label);
    const bool own_first = weight >= 0.5;
    second = own_first ? partner : label;
    label = own_first ? label : partner;
    first_weight = own_first ? weight : 1 - weight;
  }
  const auto fill = [&](float value) {
    if (a.gradient == nullptr) return;
    for (int64_t j = lane; j < a.classes; j += kWarp) store(j, value);
  };
  if (label < 0) {
    fill(0.0f);
    return {};
  }
  float largest = -INFINITY;
  bool finite = label < a.classes && second < a.classes;
  for (int64_t j = lane; j < a.classes; j += kWarp) {
    const float logit = logit_of(j);
    finite = finite && isfinite(logit);
    largest = fmaxf(largest, logit);
  }
  if (__all_sync(kAllLanes, finite) == 0) {
    fill(NAN);
    return {.loss = static_cast<double>(NAN), .counted = 1, .top1 = 0, .top5 = 0};
  }
  largest = WarpMaximum(largest);
  const double top = static_cast<double>(largest);
  const float own = logit_of(label);
  double exponentials = 0, from_largest = 0;
  int better = 0;
  for (int64_t j = lane; j < a.classes; j += kWarp) {
    const float logit = logit_of(j);
    const double difference = static_cast<double>(logit) - top;
    exponentials += exp(difference);
    from_largest += difference;
    better += logit > own || (logit == own && j < label);
  }
  exponentials = WarpSum(exponentials);
  from_largest = WarpSum(from_largest);
  better = WarpSum(better);
  const double smoothing = static_cast<double>(a.label_smoothing);
  const double uniform = smoothing / static_cast<double>(a.classes);
  if (a.gradient != nullptr) {
    for (int64_t j = lane; j < a.classes; j += kWarp) {
      const double weight = (j == label ? first_weight : 0) + (j == second ? 1 - first_weight : 0);
      const double target = uniform + (1 - smoothing) * weight;
      const double exponential = static_cast<double>(expf(logit_of(j) - largest));
      const double probability = exponential / exponentials;
      store(j, static_cast<float>(static_cast<double>(a.gradient_scale) * (probability - target)));
    }
  }
  const double target_logit = first_weight * (static_cast<double>(own) - top) +
                              (1 - first_weight) * (static_cast<double>(logit_of(second)) - top);
  return {.loss = log(exponentials) - (1 - smoothing) * target_logit - uniform * from_largest,
          .counted = 1,
          .top1 = better < 1,
          .top5 = better < 5};
}

// One block is enough for a multiprocessor: more would have ptxas spill.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) LossKernel(Arguments<T> a) {
  const int64_t warps = int64_t{gridDim.x} * (kThreads / kWarp);
  for (int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp; row < a.rows;
       row += warps) {
    const RowResult result = RunRow(a, row);
    if (threadIdx.x % kWarp == 0) a.row_results[row] = result;
  }
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(a.ticket, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last || threadIdx.x >= kWarp) return;
  __threadfence();
  double loss = 0;
  int counted = 0, top1 = 0, top5 = 0;
  for (int64_t row = threadIdx.x; row < a.rows; row += kWarp) {
    const volatile RowResult& result = a.row_results[row];
    loss += result.loss;
    counted += result.counted;
    top1 += result.top1;
    top5 += result.top5;
  }
  loss = WarpSum(loss);
  counted = WarpSum(counted);
  top1 = WarpSum(top1);
  top5 = WarpSum(top5);
  if (threadIdx.x == 0) {
    a.results[a.place.Get()] = {loss, counted, top1, top5};
    *a.ticket = 0;
  }
}

class CudaLoss : public Loss {
 public:
  CudaLoss(Device& device, const Queue& queue, const LossShape& shape)
      : device_(device),
        queue_(queue),
        shape_(shape),
        row_results_(device.Allocate(shape.batch * static_cast<int64_t>(sizeof(RowResult)))),
        results_(device.Allocate(shape.results * static_cast<int64_t>(sizeof(LossResult)))),
        ticket_(device.Allocate(sizeof(unsigned))) {}

  void Run(ConstView logits, ConstView labels, float own_label, float gradient_scale,
           View logits_gradient) override {
    Grid grid = GridFor(queue_, shape_.batch * kWarp, kThreads);
    if (grid.blocks == 0) grid.blocks = 1;  // to write zeros
    WithActivationType(logits.type, [&]<typename T>() {
      const Arguments<T> a{.logits = logits.as<T>(),
                           .labels = labels.as<int32_t>(),
                           .gradient = logits_gradient.as<T>(),
                           .gradient_scale = gradient_scale,
                           .label_smoothing = shape_.label_smoothing,
                           .own_label = MakeStepArgument(queue_, own_label),
                           .rows = shape_.batch,
                           .classes = shape_.classes,
                           .row_results = static_cast<RowResult*>(row_results_.data()),
                           .results = static_cast<LossResult*>(results_.data()),
                           .place = MakeStepArgument(queue_, next_),
                           .ticket = static_cast<unsigned*>(ticket_.data())};
      Launch("loss", queue_, grid, LossKernel<T>, a);
    });
    next_ = (next_ + 1) % shape_.results;
  }

  std::vector<LossResult> ReadResults(int64_t count) override {
    std::vector<LossResult> results(static_cast<size_t>(shape_.results));
    device_.CopyToHost(results_.view(DataType::kUint8), results.data());
    return LastResults(results, next_, count);
  }

 private:
  Device& device_;
  Queue queue_;
  LossShape shape_;
  Buffer row_results_, results_, ticket_;
  int64_t next_ = 0;  // of the results, the one to come
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<Loss> MakeCudaLoss(Device& device, const cuda::Queue& queue,
                                   const LossShape& shape) {
  CheckShape(shape);
  return std::make_unique<cuda::CudaLoss>(device, queue, shape);
}

}  // namespace thinwire
