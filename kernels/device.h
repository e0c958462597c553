// A device: memory, one in-order queue of work, and the operations that it can plan.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "kernels/augmentation.h"
#include "kernels/compression.h"
#include "kernels/image_mix.h"
#include "kernels/memory_use.h"
#include "kernels/operations.h"
#include "kernels/regression.h"
#include "kernels/updates.h"
#include "kernels/view.h"

namespace thinwire {

class Device;

/// Owns a range of device memory; move-only. Freshly allocated memory holds zeros and is aligned
/// to at least 128 bytes.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Device* device, void* data, int64_t bytes, MemoryUse use)
      : device_(device), data_(data), bytes_(bytes), use_(use) {}
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  int64_t bytes() const { return bytes_; }
  void* data() const { return data_; }
  /// The whole buffer as elements of `type`.
  View view(DataType type = DataType::kFloat32) const {
    return {data_, bytes_ / SizeOf(type), type};
  }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void Free();

  Device* device_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
  MemoryUse use_ = MemoryUse::kOther;
};

/// One accelerator, or the CPU. Not thread-safe: one thread drives a device. Buffers and operations
/// must not outlive their device.
class Device {
 public:
  virtual ~Device() = default;

  /// "cpu" or "cuda".
  virtual const char* kind() const = 0;
  /// For people: "AMD EPYC, 2 threads, avx512".
  virtual std::string description() const = 0;

  /// Whether the host may read and write the device's memory, and finds there what was enqueued.
  virtual bool host_visible() const = 0;

  /// Memory for the use that a MemoryScope names.
  /// @throws OutOfMemory
  Buffer Allocate(int64_t bytes);
  /// Scratch memory shared by all operations, at least as large as the largest Reserve.
  virtual void ReserveWorkspace(int64_t bytes) = 0;
  virtual View workspace() = 0;  // kUint8
  const HeldMemory& held_memory() const { return held_; }
  int64_t allocated_bytes() const { return held_.total(); }

  /// `source` may be overwritten on return.
  virtual void CopyFromHost(const void* source, View destination) = 0;
  /// Waits for the copy: the data is there on return.
  virtual void CopyToHost(ConstView source, void* destination) = 0;
  virtual void Copy(ConstView source, View destination) = 0;
  virtual void Zero(View destination) = 0;
  virtual void Synchronize() = 0;
  /// How often the host has waited for a device that works behind it.
  virtual int64_t waits() const { return 0; }
  /// Tells a profiler that waits for its cue (cudaProfilerStart) to record from here on, or no
  /// longer, once the work so far is done. The CPU has no such profiler.
  virtual void SetProfiling(bool on) = 0;

  /// Between these two, a device that works behind the host may put work off until something waits
  /// for it, and replays what it has been given before as one (a CUDA graph). Results are the same.
  virtual void StartRecording() {}
  virtual void StopRecording() {}
  /// As StopRecording, without the work that has been put off.
  virtual void DropRecording() {}

  /// Between these two, copies, fills, sums, compression and collectives go to a second queue:
  /// behind all that was enqueued before StartSideWork, beside what is enqueued after StopSideWork.
  /// Devices that do one thing at a time do them at once. No operation that has a workspace may be
  /// among them.
  virtual void StartSideWork() {}
  virtual void StopSideWork() {}
  /// What is enqueued from here on is behind all side work.
  virtual void JoinSideWork() {}

  virtual std::unique_ptr<Convolution> MakeConvolution(const ConvolutionShape& shape) = 0;
  virtual std::unique_ptr<Linear> MakeLinear(const LinearShape& shape) = 0;
  virtual std::unique_ptr<BatchNorm> MakeBatchNorm(const BatchNormShape& shape) = 0;
  virtual std::unique_ptr<Pooling> MakePooling(const PoolingShape& shape) = 0;
  virtual std::unique_ptr<GlobalAveragePooling> MakeGlobalAveragePooling(
      const GlobalAveragePoolingShape& shape) = 0;
  virtual std::unique_ptr<PadShortcut> MakePadShortcut(const PadShortcutShape& shape) = 0;
  virtual std::unique_ptr<Loss> MakeLoss(const LossShape& shape) = 0;
  /// @param table as in kernels/augmentation.h; copied.
  virtual std::unique_ptr<ImageAugmentation> MakeAugmentation(const AugmentationShape& shape,
                                                              std::span<const float> table) = 0;
  virtual std::unique_ptr<SignCompression> MakeSignCompression(const SignShape& shape) = 0;
  virtual std::unique_ptr<TopK> MakeTopK(const TopKShape& shape) = 0;
  virtual std::unique_ptr<TopKShare> MakeTopKShare(const TopKShareShape& shape) = 0;
  virtual std::unique_ptr<Regression> MakeRegression(const RegressionShape& shape) = 0;

  // Elementwise passes. Operands have equal sizes and types; outputs may alias inputs exactly.
  /// y = x as y's type, rounded to nearest even: float32 to bfloat16 or back. They do not alias.
  virtual void Convert(ConstView x, View y) = 0;
  // Add, Relu, ReluBackward and Dropout take float32 or bfloat16: that is computed in float32 and
  // rounded once.
  /// y = a + b, then max(·, 0) if `relu`. float64, too.
  virtual void Add(ConstView a, ConstView b, bool relu, View y) = 0;
  virtual void Relu(ConstView x, View y) = 0;
  /// x_gradient = y > 0 ? y_gradient : 0.
  virtual void ReluBackward(ConstView y, ConstView y_gradient, View x_gradient) = 0;
  /// Keeps element i with probability 1 - rate, scaled by 1 / (1 - rate); which ones is a pure
  /// function of (seed, step, i), so the same call on the gradient is the backward pass.
  virtual void Dropout(ConstView x, float rate, uint64_t seed, uint64_t step, View y) = 0;
  /// Mixes the images of rows i and rows - 1 - i, for all i below rows / 2, in place; a row in the
  /// middle stays as it is. float32 or bfloat16 [rows, height, width, channels].
  virtual void MixImages(const ImageMix& mix, const ImageMixShape& shape, View images) = 0;
  /// y = scale * x. float32 or float64.
  virtual void Scale(ConstView x, double scale, View y) = 0;
  /// average = decay * average + (1 - decay) * x  (EMA of weights; gradient accumulation). float32
  /// or float64.
  virtual void Average(ConstView x, double decay, View average) = 0;
  /// y = input + beta * y; y is not read if beta is 0. float32 or float64.
  virtual void Evaluate(const CompressionInput& input, double beta, View y) = 0;
  /// values[j] = v[indices[j]] (int32 indices), v = input + state_factor * state as in
  /// TopK::Select. float32 or float64.
  virtual void Gather(const CompressionInput& input, ConstView state, int state_factor,
                      ConstView indices, View values) = 0;
  /// y[indices[i] - first_index] += factor * values[i], for distinct indices (int32) within y,
  /// whose first element is number first_index. float32 or float64.
  virtual void ScatterAdd(ConstView indices, ConstView values, double factor, View y,
                          int64_t first_index = 0) = 0;
  /// places[j] = how many of the numbers lie below limits[j]. All are int32; numbers rise.
  virtual void LowerBounds(ConstView numbers, ConstView limits, View places) = 0;
  /// sum[i] = factor * (parts[i] + parts[n + i] + …), n = sum.size, parts.size a multiple of it;
  /// summed in float64 in that order and rounded once. float32, float64, int32.
  virtual void SumParts(ConstView parts, double factor, View sum) = 0;

  // Reductions. Sums are float64 over fixed-size blocks combined in a fixed order.
  /// result[0] (float64, device memory) = sum of squares of x (float32 or float64).
  virtual void SumOfSquares(ConstView x, View result) = 0;
  /// scale[0] (float32 or float64, device memory) = min(1, max_norm / (sqrt(sum_of_squares[0]) +
  /// 1e-6)).
  virtual void ClipScale(ConstView sum_of_squares, double max_norm, View scale) = 0;
  /// Index of the first NaN or Inf of x (float32, float64 or bfloat16), or -1. Waits for the queue.
  virtual int64_t FirstNonFinite(ConstView x) = 0;
  /// Writes the same to result (int64_t, as eight bytes of device memory) without waiting. Once it
  /// finds one, a device that works behind the host skips all updates, SignCompression::Add and
  /// ScatterAdd, so that parameters stay as they are, until ResumeUpdates.
  virtual void FindNonFinite(ConstView x, View result) = 0;
  /// The same for a sparse vector from elsewhere: the first place whose index (int32) is not within
  /// the range or not above the one before it, or whose value (float32 or float64) is NaN or Inf.
  virtual void FindMalformed(ConstView indices, ConstView values, const Range& range,
                             View result) = 0;
  virtual void ResumeUpdates() {}

  // Optimizer updates: one fused pass each, float32 or float64. State views have x's size; an empty
  // `buffer` means momentum 0, an empty `max_variance` means Adam rather than AMSGrad.
  virtual void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x) = 0;
  virtual void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
                      View max_variance, View x) = 0;
  virtual void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer,
                      View x) = 0;
  virtual void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x) = 0;
  virtual void Update(const FrozenAdamUpdate& update, ConstView momentum, ConstView variance,
                      View x) = 0;

 protected:
  /// Throws what Allocate throws. @param device Whose memory: "CUDA device 0".
  [[noreturn]] void RunOut(const std::string& device, int64_t asked, int64_t free,
                           int64_t total) const;

 private:
  friend class Buffer;
  friend class MemoryScope;
  /// Zeroed memory, also of no bytes. Calls RunOut if there is none; `bytes` may be negative.
  virtual void* AllocateMemory(int64_t bytes) = 0;
  virtual void FreeMemory(void* data) = 0;

  HeldMemory held_;
  MemoryUse use_ = MemoryUse::kOther;
};

/// For its life, memory of the device is allocated for `use`.
class MemoryScope {
 public:
  MemoryScope(Device& device, MemoryUse use)
      : device_(device), outer_(std::exchange(device.use_, use)) {}
  ~MemoryScope() { device_.use_ = outer_; }
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  Device& device_;
  MemoryUse outer_;
};

/// Records for its life, if `on`. End it by Stop(): else work that was put off is not done, as is
/// right after an exception.
class Recording {
 public:
  Recording(Device& device, bool on) : device_(on ? &device : nullptr) {
    if (device_ != nullptr) device_->StartRecording();
  }
  ~Recording() {
    if (device_ != nullptr) device_->DropRecording();
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  /// A device that has put work off begins with it.
  void Submit() {
    if (device_ == nullptr) return;
    device_->StopRecording();
    device_->StartRecording();
  }
  void Stop() {
    if (Device* const device = std::exchange(device_, nullptr)) device->StopRecording();
  }

 private:
  Device* device_;
};

/// For its life, work goes to the device's second queue.
class SideWork {
 public:
  explicit SideWork(Device& device) : device_(device) { device_.StartSideWork(); }
  ~SideWork() { device_.StopSideWork(); }
  SideWork(const SideWork&) = delete;
  SideWork& operator=(const SideWork&) = delete;

 private:
  Device& device_;
};

/// How a GPU computes; the CPU takes no notice.
struct GpuOptions {
  /// float32 convolutions and linear layers may use tensor cores, which keep ten of the 23 bits of
  /// a factor's fraction (sums are in float32).
  bool tf32 = false;
  /// Time the plans that cuDNN and cuBLASLt propose, once for each GPU, library, shape and type,
  /// and take the fastest, rather than their first. All obey what is said here, and are
  /// deterministic.
  bool autotune = false;
  /// Where such choices are kept for later runs (PlanCache); empty: nowhere.
  std::string plan_cache = {};
};

/// Makes the device that a user asked for: "cpu", "cuda", or "auto" (cuda if there is one).
/// `threads` is for the CPU, as in MakeCpuDevice, `gpu` for CUDA, as in MakeCudaDevice.
/// @throws Error (usage) for another name, or if the program or machine lacks the device.
std::unique_ptr<Device> MakeDevice(const std::string& name, int threads = 0, int gpu = 0,
                                   const GpuOptions& options = {});

/// The CPU, with `threads` threads (0: as OpenMP decides, OMP_NUM_THREADS).
std::unique_ptr<Device> MakeCpuDevice(int threads = 0);

/// GPUs that this process can use; 0, too, where there is no driver or the build lacks CUDA.
int CudaDeviceCount();
/// GPU number `ordinal`. Drive it from the thread that made it.
/// @throws Error (usage) if there is no such GPU, or the build lacks CUDA.
std::unique_ptr<Device> MakeCudaDevice(int ordinal, const GpuOptions& options = {});

}  // namespace thinwire
