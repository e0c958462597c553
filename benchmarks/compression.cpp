// The compressors' fused passes against a plain copy, and Top-K against a plain read, in one run.
//
// The vector is ResNet-18's for CIFAR-10. Each pass reports GB_per_s, counting the bytes that the
// algorithm cannot avoid, and share_of_copy, its speed over a plain copy's; Top-K reports how many
// plain reads of the vector its time is worth. A pass, a copy and a read take turns, and of each
// the fastest counts: a machine that others use too can only make them slower. All start with
// their operands in memory, as a step's passes do, which come after a whole network's.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <string>

#include "comm/failure.h"
#include "kernels/device.h"
#include "train/kernel_cases.h"
#include "train/timing.h"

namespace thinwire {
namespace {

constexpr int64_t kElements = 11'173'962;  // ResNet-18's parameters

/// Never destroyed, so that it outlives whatever holds its memory.
KernelOperands& Operands() {
  static Device& device = *MakeDevice("cpu").release();
  static KernelOperands& operands = *new KernelOperands(device, kElements);
  return operands;
}

/// What is read between any two, more than caches hold.
constexpr int64_t kOtherBytes = int64_t{1} << 28;

/// Seconds that the work takes when no cache holds what it reads.
double SecondsOf(const std::function<void()>& work) {
  static const Buffer& other = *new Buffer(Operands().device().Allocate(kOtherBytes));
  benchmark::DoNotOptimize(Operands().device().FirstNonFinite(other.view()));
  const double start = MonotonicSeconds();
  work();
  return MonotonicSeconds() - start;
}

/// Times the kernel in turn with a copy and a read.
void Run(benchmark::State& state, const KernelCase& kernel) {
  static const KernelCase copy = CopyCase(Operands());
  const auto read = [] {
    benchmark::DoNotOptimize(Operands().device().FirstNonFinite(Operands().Vector(0)));
  };
  kernel.run();
  double copy_seconds = 1e9, read_seconds = 1e9, best = 1e9;
  for (auto _ : state) {
    copy_seconds = std::min(copy_seconds, SecondsOf(copy.run));
    read_seconds = std::min(read_seconds, SecondsOf(read));
    const double seconds = SecondsOf(kernel.run);
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
  }
  state.counters["best_ms"] = 1e3 * best;
  state.counters["bytes_per_element"] = kernel.bytes / static_cast<double>(kElements);
  state.counters["GB_per_s"] = 1e-9 * kernel.bytes / best;
  state.counters["share_of_copy"] = kernel.bytes / best / (copy.bytes / copy_seconds);
  state.counters["reads"] = best / read_seconds;
}

void Register(const KernelCase& kernel) {
  benchmark::RegisterBenchmark(kernel.name.c_str(),
                               [=](benchmark::State& state) { Run(state, kernel); })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  thinwire::KernelOperands& operands = thinwire::Operands();
  thinwire::Register(thinwire::CopyCase(operands));
  for (auto* make : {thinwire::CompressionCases, thinwire::UpdateCases}) {
    for (const thinwire::KernelCase& kernel : make(operands)) thinwire::Register(kernel);
  }
  benchmark::AddCustomContext("device", operands.device().description());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
