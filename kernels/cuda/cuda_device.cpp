// A GPU as a device: calls enqueue on one stream and return.
#include <cuda_profiler_api.h>
#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include "kernels/cuda/augmentation.h"
#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/compression.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/image_mix.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/pad_shortcut.h"
#include "kernels/cuda/plan_tuner.h"
#include "kernels/cuda/pooling.h"
#include "kernels/cuda/queue.h"
#include "kernels/cuda/reductions.h"
#include "kernels/cuda/regression.h"
#include "kernels/cuda/side_queue.h"
#include "kernels/cuda/step_recorder.h"
#include "kernels/cuda/sums.h"
#include "kernels/cuda/top_k.h"
#include "kernels/cuda/top_k_share.h"
#include "kernels/cuda/updates.h"
#include "kernels/device.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

class CudaDevice : public Device {
 public:
  CudaDevice(int ordinal, const GpuOptions& options) : options_(options) {
    queue_.device = ordinal;
    MakeCurrent();
    cudaDeviceProp properties{};
    THINWIRE_CUDA_CHECK(cudaGetDeviceProperties(&properties, ordinal));
    queue_.multiprocessors = properties.multiProcessorCount;
    gpu_name_ = fmt::format("{} of {} multiprocessors", properties.name, queue_.multiprocessors);
    description_ = fmt::format("{} (CUDA device {}), {} multiprocessors, {:.0f} GiB{}",
                               properties.name, ordinal, properties.multiProcessorCount,
                               static_cast<double>(properties.totalGlobalMem) / (1 << 30),
                               options.tf32 ? ", TF32" : "");
    THINWIRE_CUDA_CHECK(cudaStreamCreateWithFlags(&queue_.stream, cudaStreamNonBlocking));
    reduction_scratch_ = Allocate(cuda::ReductionScratchBytes());
    reduction_result_ = Allocate(sizeof(int64_t));
    halted_ = Allocate(sizeof(int));
    queue_.halted = static_cast<int*>(halted_.data());
    queue_.side = &side_.emplace();
    recorder_.emplace(queue_);
    queue_.recorder = &*recorder_;
  }

  ~CudaDevice() override {
    recorder_->Drop();
    recorder_->ForgetGraphs();
    workspace_ = Buffer();
    halted_ = Buffer();
    reduction_scratch_ = Buffer();
    reduction_result_ = Buffer();
    cudnn_.reset();
    cublas_.reset();
    tuner_.reset();
    side_.reset();
    cudaStreamDestroy(queue_.stream);
  }

  const cuda::Queue& queue() const { return queue_; }

  const char* kind() const override { return "cuda"; }
  bool host_visible() const override { return false; }
  std::string description() const override { return description_; }

  void ReserveWorkspace(int64_t bytes) override {
    if (bytes <= workspace_.bytes()) return;
    const MemoryScope scope(*this, MemoryUse::kWorkspace);
    workspace_ = Buffer();
    workspace_ = Allocate(bytes);
  }
  View workspace() override { return workspace_.view(DataType::kUint8); }

  void CopyFromHost(const void* source, View destination) override {
    Flush();
    CopyBytes(source, destination.data, destination.size * SizeOf(destination.type),
              cudaMemcpyHostToDevice);
  }
  void CopyToHost(ConstView source, void* destination) override {
    Flush();
    CopyBytes(source.data, destination, source.size * SizeOf(source.type), cudaMemcpyDeviceToHost);
    Synchronize();
  }
  void Copy(ConstView source, View destination) override {
    const int64_t bytes = source.size * SizeOf(source.type);
    const auto copy = [=, this] {
      CopyBytes(source.data, destination.data, bytes, cudaMemcpyDeviceToDevice);
    };
    if (bytes > 0) cuda::Enqueue(queue_, copy, "copy", source.data, destination.data, bytes);
  }
  void Zero(View destination) override {
    cuda::Fill(queue_, destination.data, 0, destination.size * SizeOf(destination.type));
  }
  void Synchronize() override {
    JoinSideWork();
    recorder_->Flush();
    ++waits_;
    THINWIRE_CUDA_CHECK(cudaStreamSynchronize(queue_.stream));
  }
  int64_t waits() const override { return waits_; }
  void StartRecording() override { recorder_->Start(); }
  void StopRecording() override {
    JoinSideWork();
    recorder_->Stop();
  }
  void DropRecording() override {
    side_->Return();
    side_works_ = false;
    recorder_->Drop();
  }

  void StartSideWork() override {
    cuda::Enqueue(
        queue_, [this] { side_->Fork(queue_.stream); }, "fork");
    side_works_ = true;
  }
  void StopSideWork() override {
    cuda::Enqueue(
        queue_, [this] { side_->Return(); }, "return");
  }
  void JoinSideWork() override {
    if (!std::exchange(side_works_, false)) return;
    cuda::Enqueue(
        queue_, [this] { side_->Join(queue_.stream); }, "join");
  }
  void SetProfiling(bool on) override {
    MakeCurrent();
    Synchronize();
    THINWIRE_CUDA_CHECK(on ? cudaProfilerStart() : cudaProfilerStop());
  }

  std::unique_ptr<Convolution> MakeConvolution(const ConvolutionShape& shape) override {
    MakeCurrent();
    if (!cudnn_) cudnn_.emplace(queue_, tuner());
    return MakeCudaConvolution(*this, queue_, *cudnn_, shape, options_);
  }
  std::unique_ptr<Linear> MakeLinear(const LinearShape& shape) override {
    MakeCurrent();
    if (!cublas_) cublas_.emplace(tuner());
    return MakeCudaLinear(*this, queue_, *cublas_, shape, options_);
  }
  std::unique_ptr<BatchNorm> MakeBatchNorm(const BatchNormShape& shape) override {
    return MakeCudaBatchNorm(*this, queue_, shape);
  }
  std::unique_ptr<Pooling> MakePooling(const PoolingShape& shape) override {
    return MakeCudaPooling(queue_, shape);
  }
  std::unique_ptr<GlobalAveragePooling> MakeGlobalAveragePooling(
      const GlobalAveragePoolingShape& shape) override {
    return MakeCudaGlobalAveragePooling(queue_, shape);
  }
  std::unique_ptr<PadShortcut> MakePadShortcut(const PadShortcutShape& shape) override {
    return MakeCudaPadShortcut(queue_, shape);
  }
  std::unique_ptr<Loss> MakeLoss(const LossShape& shape) override {
    return MakeCudaLoss(*this, queue_, shape);
  }
  std::unique_ptr<ImageAugmentation> MakeAugmentation(const AugmentationShape& shape,
                                                      std::span<const float> table) override {
    return MakeCudaAugmentation(*this, queue_, shape, table);
  }
  std::unique_ptr<SignCompression> MakeSignCompression(const SignShape& shape) override {
    return MakeCudaSignCompression(*this, queue_, shape);
  }
  std::unique_ptr<TopK> MakeTopK(const TopKShape& shape) override {
    return MakeCudaTopK(*this, queue_, shape);
  }
  std::unique_ptr<TopKShare> MakeTopKShare(const TopKShareShape& shape) override {
    return MakeCudaTopKShare(*this, queue_, shape);
  }
  std::unique_ptr<Regression> MakeRegression(const RegressionShape& shape) override {
    return MakeCudaRegression(*this, queue_, shape);
  }

  void Convert(ConstView x, View y) override { cuda::Convert(queue_, x, y); }
  void Add(ConstView a, ConstView b, bool relu, View y) override {
    cuda::Add(queue_, a, b, relu, y);
  }
  void Relu(ConstView x, View y) override { cuda::Relu(queue_, x, y); }
  void ReluBackward(ConstView y, ConstView y_gradient, View x_gradient) override {
    cuda::ReluBackward(queue_, y, y_gradient, x_gradient);
  }
  void Dropout(ConstView x, float rate, uint64_t seed, uint64_t step, View y) override {
    cuda::Dropout(queue_, x, rate, seed, step, y);
  }
  void MixImages(const ImageMix& mix, const ImageMixShape& shape, View images) override {
    cuda::MixImages(queue_, mix, shape, images);
  }
  void Scale(ConstView x, double scale, View y) override { cuda::Scale(queue_, x, scale, y); }
  void Average(ConstView x, double decay, View average) override {
    cuda::Average(queue_, x, decay, average);
  }
  void Evaluate(const CompressionInput& input, double beta, View y) override {
    cuda::Evaluate(queue_, input, beta, y);
  }
  void Gather(const CompressionInput& input, ConstView state, int state_factor, ConstView indices,
              View values) override {
    cuda::Gather(queue_, input, state, state_factor, indices, values);
  }
  void ScatterAdd(ConstView indices, ConstView values, double factor, View y,
                  int64_t first_index) override {
    cuda::ScatterAdd(queue_, indices, values, factor, y, first_index);
  }
  void LowerBounds(ConstView numbers, ConstView limits, View places) override {
    cuda::LowerBounds(queue_, numbers, limits, places);
  }
  void SumParts(ConstView parts, double factor, View sum) override {
    cuda::SumParts(queue_, parts, factor, sum);
  }

  void SumOfSquares(ConstView x, View result) override {
    cuda::SumOfSquares(queue_, x, reduction_scratch_.data(), result);
  }
  void ClipScale(ConstView sum_of_squares, double max_norm, View scale) override {
    cuda::ClipScale(queue_, sum_of_squares, max_norm, scale);
  }
  int64_t FirstNonFinite(ConstView x) override {
    cuda::FirstNonFinite(queue_, x, false, reduction_result_.data());
    int64_t index = -1;
    CopyToHost({reduction_result_.data(), sizeof(index), DataType::kUint8}, &index);
    return index;
  }
  void FindNonFinite(ConstView x, View result) override {
    cuda::FirstNonFinite(queue_, x, true, result.data);
  }
  void FindMalformed(ConstView indices, ConstView values, const Range& range,
                     View result) override {
    cuda::FirstMalformed(queue_, indices, values, range, result.data);
  }
  void ResumeUpdates() override { Zero(halted_.view()); }

  void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x) override {
    cuda::Update(queue_, update, gradient, buffer, x);
  }
  void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
              View max_variance, View x) override {
    cuda::Update(queue_, update, gradient, momentum, variance, max_variance, x);
  }
  void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer,
              View x) override {
    cuda::Update(queue_, update, gradient, variance, buffer, x);
  }
  void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x) override {
    cuda::Update(queue_, update, gradient, buffer, x);
  }
  void Update(const FrozenAdamUpdate& update, ConstView momentum, ConstView variance,
              View x) override {
    cuda::Update(queue_, update, momentum, variance, x);
  }

 private:
  /// CUDA's current device belongs to the calling thread.
  void MakeCurrent() const { THINWIRE_CUDA_CHECK(cudaSetDevice(queue_.device)); }

  void CopyBytes(const void* source, void* destination, int64_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    THINWIRE_CUDA_CHECK(cudaMemcpyAsync(destination, source, static_cast<size_t>(bytes), kind,
                                        queue_.current_stream()));
  }
  /// Null unless plans are to be tuned.
  cuda::PlanTuner* tuner() {
    if (options_.autotune && !tuner_) {
      tuner_.emplace(*this, queue_, gpu_name_, options_.plan_cache);
    }
    return tuner_ ? &*tuner_ : nullptr;
  }
  /// Before the host waits for something, or brings something: what is put off is enqueued, and a
  /// graph has to end where it began, on one stream.
  void Flush() {
    if (recorder_->on()) JoinSideWork();
    recorder_->Flush();
  }

  void* AllocateMemory(int64_t bytes) override {
    MakeCurrent();
    void* data = nullptr;
    const cudaError_t status = bytes < 0
                                   ? cudaErrorMemoryAllocation
                                   : cudaMalloc(&data, static_cast<size_t>(bytes == 0 ? 1 : bytes));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      RunOut(fmt::format("CUDA device {}", queue_.device), bytes, static_cast<int64_t>(free),
             static_cast<int64_t>(total));
    }
    THINWIRE_CUDA_CHECK(status);
    Zero({data, bytes, DataType::kUint8});
    return data;
  }
  void FreeMemory(void* data) override {
    cudaSetDevice(queue_.device);
    if (recorder_ && recorder_->on()) return recorder_->FreeLater(data);
    cudaFree(data);  // waits for work that uses it
  }

  GpuOptions options_;
  cuda::Queue queue_;
  std::optional<cuda::SideQueue> side_;
  bool side_works_ = false;  // and has not been joined
  int64_t waits_ = 0;
  std::optional<cuda::StepRecorder> recorder_;
  std::string gpu_name_;
  std::optional<cuda::PlanTuner> tuner_;
  std::optional<cuda::Cudnn> cudnn_;  // loading them takes a while, and not all need them
  std::optional<cuda::Cublas> cublas_;
  std::string description_;
  Buffer workspace_, reduction_scratch_, reduction_result_, halted_;
};

}  // namespace

cuda::Queue cuda::QueueOf(Device& device) {
  const auto* gpu = dynamic_cast<const CudaDevice*>(&device);
  if (gpu == nullptr) throw Error("the device " + device.description() + " has no CUDA queue", "");
  return gpu->queue();
}

int CudaDeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

std::unique_ptr<Device> MakeCudaDevice(int ordinal, const GpuOptions& options) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    throw Error(fmt::format("--device cuda: no GPU can be used: {}",
                            status == cudaSuccess ? "there is none" : cudaGetErrorString(status)),
                "check nvidia-smi, or use --device cpu", Error::Kind::kUsage);
  }
  if (ordinal < 0 || ordinal >= count) {
    throw Error(fmt::format("CUDA device {}: this machine has {}", ordinal, count),
                fmt::format("use one of 0 to {}", count - 1), Error::Kind::kUsage);
  }
  return std::make_unique<CudaDevice>(ordinal, options);
}

}  // namespace thinwire
