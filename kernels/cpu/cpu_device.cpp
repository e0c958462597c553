// The CPU as a device: every call does its work before it returns.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels/cpu/augmentation.h"
#include "kernels/cpu/batch_norm.h"
#include "kernels/cpu/bfloat16_operations.h"
#include "kernels/cpu/compression.h"
#include "kernels/cpu/convolution.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/gather.h"
#include "kernels/cpu/image_mix.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/loss.h"
#include "kernels/cpu/pad_shortcut.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pooling.h"
#include "kernels/cpu/reductions.h"
#include "kernels/cpu/regression.h"
#include "kernels/cpu/sums.h"
#include "kernels/cpu/top_k.h"
#include "kernels/cpu/top_k_share.h"
#include "kernels/cpu/updates.h"
#include "kernels/device.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kAlignment = 128;
constexpr int64_t kHugePage = int64_t{2} << 20;

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "CPU";
}

class CpuDevice : public Device {
 public:
  explicit CpuDevice(int threads) {
#if !defined(__SANITIZE_THREAD__)
    if (threads > 0) omp_set_num_threads(threads);
#else
    (void)threads;
#endif
  }

  const char* kind() const override { return "cpu"; }
  bool host_visible() const override { return true; }
  std::string description() const override {
    const int threads = cpu::ThreadCount();
    return fmt::format("{}, {} thread{}, {}", ProcessorName(), threads, threads == 1 ? "" : "s",
                       cpu::Isa().name);
  }

  void ReserveWorkspace(int64_t bytes) override {
    if (bytes <= workspace_.bytes()) return;
    const MemoryScope scope(*this, MemoryUse::kWorkspace);
    workspace_ = Buffer();
    workspace_ = Allocate(bytes);
  }
  View workspace() override { return workspace_.view(DataType::kUint8); }

  void CopyFromHost(const void* source, View destination) override {
    cpu::Copy({source, destination.size, destination.type}, destination);
  }
  void CopyToHost(ConstView source, void* destination) override {
    cpu::Copy(source, {destination, source.size, source.type});
  }
  void Copy(ConstView source, View destination) override { cpu::Copy(source, destination); }
  void Zero(View destination) override { cpu::Zero(destination); }
  void Synchronize() override {}
  void SetProfiling(bool) override {}

  std::unique_ptr<Convolution> MakeConvolution(const ConvolutionShape& shape) override {
    if (shape.type == DataType::kBFloat16) return cpu::MakeBFloat16Convolution(scratch_, shape);
    return MakeCpuConvolution(*this, shape);
  }
  std::unique_ptr<Linear> MakeLinear(const LinearShape& shape) override {
    if (shape.type == DataType::kBFloat16) return cpu::MakeBFloat16Linear(scratch_, shape);
    return MakeCpuLinear(*this, shape);
  }
  std::unique_ptr<BatchNorm> MakeBatchNorm(const BatchNormShape& shape) override {
    if (shape.type == DataType::kBFloat16) return cpu::MakeBFloat16BatchNorm(scratch_, shape);
    return MakeCpuBatchNorm(*this, shape);
  }
  std::unique_ptr<Pooling> MakePooling(const PoolingShape& shape) override {
    if (shape.type == DataType::kBFloat16) return cpu::MakeBFloat16Pooling(scratch_, shape);
    return MakeCpuPooling(shape);
  }
  std::unique_ptr<GlobalAveragePooling> MakeGlobalAveragePooling(
      const GlobalAveragePoolingShape& shape) override {
    if (shape.type == DataType::kBFloat16) {
      return cpu::MakeBFloat16GlobalAveragePooling(scratch_, shape);
    }
    return MakeCpuGlobalAveragePooling(shape);
  }
  std::unique_ptr<PadShortcut> MakePadShortcut(const PadShortcutShape& shape) override {
    if (shape.type == DataType::kBFloat16) return cpu::MakeBFloat16PadShortcut(scratch_, shape);
    return MakeCpuPadShortcut(shape);
  }
  std::unique_ptr<Loss> MakeLoss(const LossShape& shape) override {
    if (shape.type == DataType::kBFloat16) return cpu::MakeBFloat16Loss(scratch_, shape);
    return MakeCpuLoss(shape);
  }
  std::unique_ptr<ImageAugmentation> MakeAugmentation(const AugmentationShape& shape,
                                                      std::span<const float> table) override {
    return MakeCpuAugmentation(shape, table);
  }
  std::unique_ptr<SignCompression> MakeSignCompression(const SignShape& shape) override {
    return MakeCpuSignCompression(shape);
  }
  std::unique_ptr<TopK> MakeTopK(const TopKShape& shape) override { return MakeCpuTopK(shape); }
  std::unique_ptr<TopKShare> MakeTopKShare(const TopKShareShape& shape) override {
    return MakeCpuTopKShare(shape);
  }
  std::unique_ptr<Regression> MakeRegression(const RegressionShape& shape) override {
    return MakeCpuRegression(shape);
  }

  void Convert(ConstView x, View y) override { cpu::Convert(x, y); }
  void Add(ConstView a, ConstView b, bool relu, View y) override { cpu::Add(a, b, relu, y); }
  void Relu(ConstView x, View y) override { cpu::Relu(x, y); }
  void ReluBackward(ConstView y, ConstView y_gradient, View x_gradient) override {
    cpu::ReluBackward(y, y_gradient, x_gradient);
  }
  void Dropout(ConstView x, float rate, uint64_t seed, uint64_t step, View y) override {
    cpu::Dropout(x, rate, seed, step, y);
  }
  void MixImages(const ImageMix& mix, const ImageMixShape& shape, View images) override {
    cpu::MixImages(mix, shape, images);
  }
  void Scale(ConstView x, double scale, View y) override { cpu::Scale(x, scale, y); }
  void Average(ConstView x, double decay, View average) override {
    cpu::Average(x, decay, average);
  }
  void Evaluate(const CompressionInput& input, double beta, View y) override {
    cpu::Evaluate(input, beta, y);
  }
  void Gather(const CompressionInput& input, ConstView state, int state_factor, ConstView indices,
              View values) override {
    cpu::Gather(input, state, state_factor, indices, values);
  }
  void ScatterAdd(ConstView indices, ConstView values, double factor, View y,
                  int64_t first_index) override {
    cpu::ScatterAdd(indices, values, factor, y, first_index);
  }
  void LowerBounds(ConstView numbers, ConstView limits, View places) override {
    cpu::LowerBounds(numbers, limits, places);
  }
  void SumParts(ConstView parts, double factor, View sum) override {
    cpu::SumParts(parts, factor, sum);
  }

  void SumOfSquares(ConstView x, View result) override { cpu::SumOfSquares(x, result); }
  void ClipScale(ConstView sum_of_squares, double max_norm, View scale) override {
    cpu::ClipScale(sum_of_squares, max_norm, scale);
  }
  int64_t FirstNonFinite(ConstView x) override { return cpu::FirstNonFinite(x); }
  void FindNonFinite(ConstView x, View result) override {
    *static_cast<int64_t*>(result.data) = cpu::FirstNonFinite(x);
  }
  void FindMalformed(ConstView indices, ConstView values, const Range& range,
                     View result) override {
    *static_cast<int64_t*>(result.data) = cpu::FirstMalformed(indices, values, range);
  }

  void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x) override {
    cpu::Update(update, gradient, buffer, x);
  }
  void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
              View max_variance, View x) override {
    cpu::Update(update, gradient, momentum, variance, max_variance, x);
  }
  void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer,
              View x) override {
    cpu::Update(update, gradient, variance, buffer, x);
  }
  void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x) override {
    cpu::Update(update, gradient, buffer, x);
  }
  void Update(const FrozenAdamUpdate& update, ConstView momentum, ConstView variance,
              View x) override {
    cpu::Update(update, momentum, variance, x);
  }

 private:
  void* AllocateMemory(int64_t bytes) override {
    const int64_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    // Linux promises more than there is and ends the process when it is used, so ask ourselves.
    const int64_t free = memory_bytes_ - allocated_bytes();
    const bool fits = bytes >= 0 && bytes <= free;
    const int64_t rounded = fits ? bytes / kAlignment * kAlignment + kAlignment : 0;
    void* data = nullptr;
    if (!fits ||
        posix_memalign(&data, static_cast<size_t>(alignment), static_cast<size_t>(rounded)) != 0) {
      RunOut("this machine", bytes, free, memory_bytes_);
    }
#if defined(__linux__)
    if (bytes >= kHugePage) madvise(data, static_cast<size_t>(rounded), MADV_HUGEPAGE);
#endif
    cpu::Zero({data, rounded, DataType::kUint8});
    return data;
  }
  void FreeMemory(void* data) override { std::free(data); }

  const int64_t memory_bytes_ = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  Buffer workspace_;
  cpu::Float32Scratch scratch_{*this};
};

}  // namespace

std::unique_ptr<Device> MakeCpuDevice(int threads) { return std::make_unique<CpuDevice>(threads); }

}  // namespace thinwire
