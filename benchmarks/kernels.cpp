// The memory-bound operations against a plain copy, in one run.
//
// Each pass reports GB_per_s, counting the bytes that the algorithm cannot avoid (an add: two
// operands and the result; Adam: the gradient once, both moments and the parameters twice), and
// share_of_copy, its speed over a plain copy's. Buffers outgrow the last-level cache unless the
// name says "cached".
#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/failure.h"
#include "kernels/device.h"
#include "train/kernel_cases.h"
#include "train/timing.h"

namespace thinwire {
namespace {

constexpr int64_t kLarge = int64_t{1} << 24;   // elements: 64 MiB a tensor
constexpr int64_t kCached = int64_t{1} << 19;  // 2 MiB a tensor

// Never destroyed, so that they outlive whatever holds their memory.
Device& TheDevice() {
  static Device& device = *MakeDevice("cpu").release();
  return device;
}
KernelOperands& Operands(bool cached) {
  static KernelOperands& large = *new KernelOperands(TheDevice(), kLarge);
  static KernelOperands& small = *new KernelOperands(TheDevice(), kCached);
  return cached ? small : large;
}

double SecondsOf(const std::function<void()>& work) {
  const double start = MonotonicSeconds();
  work();
  return MonotonicSeconds() - start;
}

/// Times `kernel` in turn with a copy of `operands`' size: a machine that others use too changes
/// its speed from one second to the next, and the two share what comes. The counters are medians.
void Run(benchmark::State& state, KernelOperands& operands, const KernelCase& kernel) {
  const KernelCase copy = CopyCase(operands);
  std::vector<double> bandwidths, shares;
  kernel.run();
  for (auto _ : state) {
    const double copy_seconds = SecondsOf(copy.run);
    const double seconds = SecondsOf(kernel.run);
    state.SetIterationTime(seconds);
    bandwidths.push_back(1e-9 * kernel.bytes / seconds);
    shares.push_back(kernel.bytes / seconds / (copy.bytes / copy_seconds));
  }
  state.counters["GB_per_s"] = Median(std::move(bandwidths));
  state.counters["share_of_copy"] = Median(std::move(shares));
}

void Register(KernelOperands& operands, bool cached, const KernelCase& kernel) {
  benchmark::RegisterBenchmark(
      (kernel.name + (cached ? "/cached" : "")).c_str(),
      [=, &operands](benchmark::State& state) { Run(state, operands, kernel); })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

/// Pooling as ResNet's first, 112x112x64 to 56x56, on as many images as fit, and the last one.
std::vector<KernelCase> PoolingCases(KernelOperands& operands) {
  constexpr int64_t kImage = 112 * 112 * 64;
  const int64_t batch = std::max<int64_t>(1, operands.elements() / kImage);
  const std::shared_ptr<Pooling> pooling = operands.device().MakePooling({.batch = batch,
                                                                          .height = 112,
                                                                          .width = 112,
                                                                          .channels = 64,
                                                                          .window_height = 3,
                                                                          .window_width = 3,
                                                                          .padding_height = 1,
                                                                          .padding_width = 1});
  const auto memory = std::make_shared<std::vector<Buffer>>();
  for (const int64_t bytes : {4 * batch * kImage, batch * kImage, batch * kImage / 4}) {
    memory->push_back(operands.device().Allocate(bytes));
  }
  const auto x = [memory] { return (*memory)[0].view(); };
  const auto y = [memory] { return (*memory)[1].view(); };
  const auto saved = [memory] { return (*memory)[2].view(DataType::kUint8); };
  pooling->Forward(x(), y(), saved());
  // x, a quarter of it as y, and a byte for each of y.
  const double bytes = 4 * static_cast<double>(batch * kImage) * (1 + 0.25 + 0.0625);
  const std::shared_ptr<GlobalAveragePooling> average =
      operands.device().MakeGlobalAveragePooling({operands.elements() / (64 * 512), 64, 512});
  return {{.name = "max_pooling/forward",
           .bytes = bytes,
           .run = [=] { pooling->Forward(x(), y(), saved()); }},
          {.name = "max_pooling/backward",
           .bytes = bytes,
           .run = [=] { pooling->Backward(y(), saved(), x()); }},
          {.name = "global_average_pooling/forward",
           .bytes = 4 * static_cast<double>(operands.elements()),
           .run = [=, &operands] {
             average->Forward(operands.Vector(0),
                              operands.Vector(1).Slice(0, operands.elements() / 64));
           }}};
}

void RegisterAll(bool cached) {
  KernelOperands& operands = Operands(cached);
  std::vector<std::vector<KernelCase>> groups = {{CopyCase(operands)},
                                                 ElementwiseCases(operands),
                                                 UpdateCases(operands),
                                                 PoolingCases(operands),
                                                 {LossCase(operands, 1000)}};
  for (const int64_t channels : {16, 32, 64, 100, 256, 512, 2048}) {
    for (const bool residual : {false, true}) {
      groups.push_back(BatchNormCases(operands, channels, residual));
    }
  }
  for (const auto& group : groups) {
    for (const KernelCase& kernel : group) Register(operands, cached, kernel);
  }
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  for (const bool cached : {false, true}) thinwire::RegisterAll(cached);
  benchmark::AddCustomContext("device", thinwire::TheDevice().description());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
