// A warp takes a chunk of the rows, one after the other, and sums its gradients in float64 in
// memory of its own; the chunks' sums are then added in order. A softmax keeps sums as [features,
// classes], so that a stored value meets all classes in one stretch of memory.
#include "kernels/cuda/regression.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/upload.h"
#include "kernels/cuda/warp.cuh"

namespace thinwire::cuda {
namespace {

constexpr int64_t kMaxChunks = 512;
constexpr int kThreads = 128;
constexpr int64_t kBlock = 64;  // rows whose losses are added before those of others

struct ChunkResult {
  double loss_sum;
  int64_t correct;
};

struct DeviceRows {
  const int64_t* starts;
  const int32_t* columns;
  const double* values;
  const int32_t* labels;
  int64_t classes, features;
  const int64_t* listed;  // or null, and rows follow `first`
  int64_t first, count;

  __device__ int64_t Row(int64_t i) const { return listed != nullptr ? listed[i] : first + i; }
};

/// Adds a row's loss to `result`, and its gradient to `sums` unless that is null. Lanes share the
/// row's stored values.
template <typename T>
__device__ void BinaryRow(const DeviceRows& data, int64_t row, const T* weights, double* sums,
                          ChunkResult& result) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t begin = data.starts[row], end = data.starts[row + 1];
  double score = 0;
  for (int64_t i = begin + lane; i < end; i += kWarp) {
    score += data.values[i] * static_cast<double>(weights[data.columns[i]]);
  }
  score = WarpSum(score);
  const bool positive = data.labels[row] == 1;
  const double margin = positive ? score : -score;
  const double e = exp(-fabs(margin));
  result.loss_sum += log1p(e) + (margin < 0 ? -margin : 0);
  result.correct += positive ? score > 0 : score <= 0;
  if (sums == nullptr) return;
  const double share = (margin < 0 ? 1 : e) / (1 + e);  // 1 / (1 + exp(margin))
  const double factor = positive ? -share : share;
  for (int64_t i = begin + lane; i < end; i += kWarp) {
    sums[data.columns[i]] += factor * data.values[i];
  }
  __syncwarp();  // another lane may meet the column in the next row
}

/// As BinaryRow; lanes share the classes. `scores`: scratch memory for a number a class.
template <typename T>
__device__ void SoftmaxRow(const DeviceRows& data, int64_t row, const T* weights, double* scores,
                           double* sums, ChunkResult& result) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t begin = data.starts[row], end = data.starts[row + 1];
  const int64_t label = data.labels[row];
  double largest = -INFINITY, own = 0;
  int64_t best = 0;
  for (int64_t k = lane; k < data.classes; k += kWarp) {
    double score = 0;
    for (int64_t i = begin; i < end; ++i) {
      score += data.values[i] * static_cast<double>(weights[k * data.features + data.columns[i]]);
    }
    scores[k] = score;
    if (score > largest) {
      largest = score;
      best = k;
    }
    if (k == label) own = score;
  }
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {  // ties to the lower class
    const double other = __shfl_xor_sync(kAllLanes, largest, distance);
    const int64_t other_best = __shfl_xor_sync(kAllLanes, best, distance);
    if (other > largest || (other == largest && other_best < best)) {
      largest = other;
      best = other_best;
    }
  }
  own = __shfl_sync(kAllLanes, own, static_cast<int>(label % kWarp));
  // Each sum without its own largest part, which would swallow what is small beside it.
  double all_but_best = 0, all_but_label = 0;
  for (int64_t k = lane; k < data.classes; k += kWarp) {
    scores[k] = exp(scores[k] - largest);
    if (k != best) all_but_best += scores[k];
    if (k != label) all_but_label += scores[k];
  }
  all_but_best = WarpSum(all_but_best);
  all_but_label = WarpSum(all_but_label);
  result.loss_sum += log1p(all_but_best) + (largest - own);
  result.correct += best == label && !isnan(all_but_best);
  if (sums == nullptr) return;
  const double total = 1 + all_but_best;
  for (int64_t k = lane; k < data.classes; k += kWarp) {
    const double factor = k == label ? -all_but_label / total : scores[k] / total;
    for (int64_t i = begin; i < end; ++i) {
      sums[data.columns[i] * data.classes + k] += factor * data.values[i];
    }
  }
}

template <typename T, bool kBinary>
__global__ void __launch_bounds__(kThreads, 4)
    EvaluateRowsKernel(DeviceRows data, int64_t chunks, const T* weights, int64_t size,
                       double* scores, double* sums, ChunkResult* results) {
  const int64_t chunk = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
  if (chunk >= chunks) return;
  double* const own_sums = sums == nullptr ? nullptr : sums + chunk * size;
  const int64_t end = data.count * (chunk + 1) / chunks;
  ChunkResult result{};
  for (int64_t i = data.count * chunk / chunks; i < end;) {
    ChunkResult block{};  // so that few roundings follow one another
    const int64_t stop = i + kBlock < end ? i + kBlock : end;
    for (; i < stop; ++i) {
      if constexpr (kBinary) {
        BinaryRow(data, data.Row(i), weights, own_sums, block);
      } else {
        SoftmaxRow(data, data.Row(i), weights, scores + chunk * data.classes, own_sums, block);
      }
    }
    result.loss_sum += block.loss_sum;
    result.correct += block.correct;
  }
  if (threadIdx.x % kWarp == 0) results[chunk] = result;
}

/// gradient = the chunks' sums, in order, divided by the number of rows.
template <typename T>
__global__ void __launch_bounds__(kFlatThreads)
    GradientKernel(DeviceRows data, int64_t chunks, const double* sums, int64_t size, T* gradient) {
  const double rows = static_cast<double>(data.count > 1 ? data.count : 1);
  for (int64_t i = int64_t{blockIdx.x} * kFlatThreads + threadIdx.x; i < size;
       i += int64_t{gridDim.x} * kFlatThreads) {
    // Where the gradient's element is among the sums.
    const int64_t at = data.classes == 2 ? i : i % data.features * data.classes + i / data.features;
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * size + at];
    gradient[i] = static_cast<T>(sum / rows);
  }
}

/// One block: the sum of w² / (1 + w²), and the gradient of lambda times it is added.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    RegulariserKernel(double lambda, const T* weights, int64_t size, T* gradient, double* sum) {
  __shared__ double parts[kThreads];
  double own = 0;
  for (int64_t j = threadIdx.x; j < size; j += kThreads) {
    const double value = static_cast<double>(weights[j]);
    const double one_plus = 1 + value * value;
    own += value * value / one_plus;
    if (gradient != nullptr) {
      gradient[j] = static_cast<T>(static_cast<double>(gradient[j]) +
                                   2 * lambda * value / (one_plus * one_plus));
    }
  }
  parts[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double total = 0;
  for (int t = 0; t < kThreads; ++t) total += parts[t];
  *sum = total;
}

class CudaRegression : public Regression {
 public:
  CudaRegression(Device& device, const Queue& queue, const RegressionShape& shape)
      : device_(device),
        queue_(queue),
        shape_(shape),
        starts_(Upload(device, shape.data.starts)),
        columns_(Upload(device, shape.data.columns)),
        values_(Upload(device, shape.data.values)),
        labels_(Upload(device, shape.data.labels)) {
    const int64_t chunks = Chunks(shape.data.starts.back());
    constexpr int64_t kDouble = sizeof(double);
    sums_ = device.Allocate(chunks * shape.weights() * kDouble);
    scores_ = device.Allocate(shape.classes == 2 ? 0 : chunks * shape.classes * kDouble);
    results_ = device.Allocate(chunks * static_cast<int64_t>(sizeof(ChunkResult)));
    regulariser_ = device.Allocate(kDouble);
  }

  RegressionResult Evaluate(std::span<const int64_t> rows, ConstView weights,
                            View gradient) override {
    int64_t stored = 0;
    for (const int64_t row : rows) stored += Start(row + 1) - Start(row);
    const auto bytes = static_cast<int64_t>(rows.size_bytes());
    if (listed_.bytes() < bytes) {
      listed_ = Buffer();
      listed_ = device_.Allocate(bytes);
    }
    device_.CopyFromHost(rows.data(), listed_.view(DataType::kUint8).Slice(0, bytes));
    DeviceRows data = Rows(std::ssize(rows));
    data.listed = static_cast<const int64_t*>(listed_.data());
    return Run(data, stored, weights, gradient);
  }

  RegressionResult Evaluate(int64_t begin, int64_t end, ConstView weights, View gradient) override {
    DeviceRows data = Rows(end - begin);
    data.first = begin;
    return Run(data, Start(end) - Start(begin), weights, gradient);
  }

  double AddRegulariser(double lambda, ConstView weights, View gradient) override {
    WithFloatingType(shape_.type, [&]<typename T>() {
      Launch("regulariser", queue_, {.blocks = 1, .threads = kThreads}, RegulariserKernel<T>,
             lambda, weights.as<T>(), weights.size, gradient.as<T>(),
             static_cast<double*>(regulariser_.data()));
    });
    double sum = 0;
    device_.CopyToHost(regulariser_.view(DataType::kFloat64), &sum);
    return lambda * sum;
  }

 private:
  int64_t Start(int64_t row) const { return shape_.data.starts[static_cast<size_t>(row)]; }

  /// For so many stored values. A chunk must be worth the adding up of its sums.
  int64_t Chunks(int64_t stored) const {
    constexpr int64_t kLeastWork = 1024;
    const int64_t work = stored * (shape_.classes == 2 ? 1 : shape_.classes);
    return std::clamp<int64_t>(work / std::max(kLeastWork, 4 * shape_.weights()), 1, kMaxChunks);
  }

  DeviceRows Rows(int64_t count) const {
    return {.starts = static_cast<const int64_t*>(starts_.data()),
            .columns = static_cast<const int32_t*>(columns_.data()),
            .values = static_cast<const double*>(values_.data()),
            .labels = static_cast<const int32_t*>(labels_.data()),
            .classes = shape_.classes,
            .features = shape_.data.features,
            .listed = nullptr,
            .first = 0,
            .count = count};
  }

  RegressionResult Run(const DeviceRows& rows, int64_t stored, ConstView weights, View gradient) {
    // No more than were planned for, even if rows are listed again and again.
    const int64_t chunks = std::min(Chunks(stored), Chunks(shape_.data.starts.back()));
    const int64_t size = shape_.weights();
    const auto sums = static_cast<double*>(sums_.data());
    WithFloatingType(shape_.type, [&]<typename T>() {
      if (gradient) device_.Zero(sums_.view(DataType::kFloat64).Slice(0, chunks * size));
      Launch("regression_rows", queue_,
             {.blocks = (chunks * kWarp + kThreads - 1) / kThreads, .threads = kThreads},
             shape_.classes == 2 ? EvaluateRowsKernel<T, true> : EvaluateRowsKernel<T, false>, rows,
             chunks, weights.as<T>(), size, static_cast<double*>(scores_.data()),
             gradient ? sums : nullptr, static_cast<ChunkResult*>(results_.data()));
      if (!gradient) return;
      Launch("regression_gradient", queue_, GridFor(queue_, size, kFlatThreads), GradientKernel<T>,
             rows, chunks, sums, size, gradient.as<T>());
    });
    std::vector<ChunkResult> results(static_cast<size_t>(chunks));
    device_.CopyToHost(results_.view(DataType::kUint8)
                           .Slice(0, chunks * static_cast<int64_t>(sizeof(ChunkResult))),
                       results.data());
    RegressionResult total{.loss_sum = 0, .rows = rows.count, .correct = 0};
    for (const ChunkResult& result : results) {
      total.loss_sum += result.loss_sum;
      total.correct += result.correct;
    }
    return total;
  }

  Device& device_;
  Queue queue_;
  const RegressionShape shape_;
  Buffer starts_, columns_, values_, labels_;
  Buffer sums_;    // [chunks, weights]
  Buffer scores_;  // [chunks, classes], of a softmax
  Buffer results_, regulariser_, listed_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<Regression> MakeCudaRegression(Device& device, const cuda::Queue& queue,
                                               const RegressionShape& shape) {
  CheckShape(shape);
  return std::make_unique<cuda::CudaRegression>(device, queue, shape);
}

}  // namespace thinwire
