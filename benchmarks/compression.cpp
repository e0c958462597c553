// The compressors' fused passes against a plain copy, and Top-K against a plain read, in one run.
//
// The vector is ResNet-18's for CIFAR-10. Each pass reports GB_per_s, counting the bytes that the
// algorithm cannot avoid, and share_of_copy, its speed over a plain copy's; Top-K reports how many
// plain reads of the vector its time is worth. A pass, a copy and a read take turns, and of each
// the fastest counts: a machine that others use too can only make them slower.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr int64_t kSize = 11'173'962 / 128 * 128 + 128;  // ResNet-18's parameters, with padding
constexpr int64_t kElements = 11'173'962;

/// Never destroyed, so that it outlives whatever holds its memory.
Device& TheDevice() {
  static Device& device = *MakeDevice("cpu").release();
  return device;
}

/// Vector `index`, of normal values; squares of them where they stand for variances.
View Vector(size_t index) {
  static std::vector<Buffer> buffers(16);
  Buffer& buffer = buffers[index];
  if (!buffer) {
    buffer = TheDevice().Allocate(kSize * SizeOf(DataType::kFloat32));
    float* values = buffer.view().as<float>();
    RandomStream random(index, 0);
    for (int64_t i = 0; i < kElements; ++i) values[i] = static_cast<float>(random.Normal());
  }
  return buffer.view();
}
View Variance(size_t index) {
  const View v = Vector(index);
  for (int64_t i = 0; i < kElements; ++i) v.as<float>()[i] *= v.as<float>()[i];
  return v;
}

/// Signs of vector `index`, with a small scale, so that sums of many stay small.
SignMessage Message(size_t index) {
  static std::vector<Buffer> bits(32), scales(32);
  if (!bits[index]) {
    bits[index] = TheDevice().Allocate(kSize / 8);
    scales[index] = TheDevice().Allocate(4);
    *scales[index].view().as<float>() = 1e-3f;
    RandomStream random(100 + index, 0);
    for (int64_t i = 0; i < kSize / 32; ++i) {
      bits[index].view(DataType::kInt32).as<uint32_t>()[i] = random.Next();
    }
  }
  return {bits[index].view(DataType::kInt32), scales[index].view()};
}

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Copy() { TheDevice().Copy(Vector(0), Vector(1)); }
void Read() { benchmark::DoNotOptimize(TheDevice().FirstNonFinite(Vector(0))); }

/// Times `work` in turn with a copy and a read. `bytes` are those an element.
void Run(benchmark::State& state, double bytes, const std::function<void()>& work) {
  work();
  double copy_seconds = 1e9, read_seconds = 1e9, best = 1e9;
  for (auto _ : state) {
    copy_seconds = std::min(copy_seconds, Seconds(Copy));
    read_seconds = std::min(read_seconds, Seconds(Read));
    const double seconds = Seconds(work);
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
  }
  const double moved = bytes * static_cast<double>(kElements);
  state.counters["best_ms"] = 1e3 * best;
  state.counters["bytes_per_element"] = bytes;
  state.counters["GB_per_s"] = 1e-9 * moved / best;
  state.counters["share_of_copy"] = bytes / 8 * copy_seconds / best;
  state.counters["reads"] = best / read_seconds;
}

void Register(const std::string& name, double bytes, const std::function<void()>& work) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { Run(state, bytes, work); })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

SignCompression& Signs() {
  static const std::unique_ptr<SignCompression> signs = TheDevice().MakeSignCompression(
      {.size = kSize, .runs = {{{0, kElements}, 0}}, .group_sizes = {kElements}});
  return *signs;
}
View Bits() { return {const_cast<void*>(Message(31).bits.data), kSize / 32, DataType::kInt32}; }
View Sums() {
  static const Buffer sums = TheDevice().Allocate(8);
  return sums.view(DataType::kFloat64);
}
std::vector<SignMessage> Messages(size_t count) {
  std::vector<SignMessage> messages;
  for (size_t i = 0; i < count; ++i) messages.push_back(Message(i));
  return messages;
}

void RegisterSigns() {
  constexpr double kBit = 1.0 / 8;  // bytes
  const auto gradient = [] { return CompressionInput{.values = Vector(0)}; };
  static const auto adam = [] {
    return AdamUpdate{
        .common = {.learning_rate = 1e-4}, .form = AdamUpdate::Form::kPaper, .beta2 = 0.99};
  };
  Register("copy", 8, Copy);
  Register("sign/pack", 4 + kBit, [=] { Signs().Pack(gradient(), Bits(), Sums()); });
  Register("sign/pack_difference", 12 + 2 * kBit,
           [=] { Signs().PackDifference(gradient(), Message(31), Vector(2), Bits(), Sums()); });
  Register("sign/pack_difference+decay", 16 + 2 * kBit, [=] {
    Signs().PackDifference({.values = Vector(0),
                            .parameters = Vector(3),
                            .weight_decay = 5e-4,
                            .decayed_size = kElements},
                           Message(31), Vector(2), Bits(), Sums());
  });
  Register("sign/pack_sum", 12 + kBit,
           [=] { Signs().PackSum(gradient(), Message(31).scales, Vector(2), Bits(), Sums()); });
  for (const size_t workers : {1, 4, 8}) {
    const std::string suffix = "/" + std::to_string(workers);
    const double bits = static_cast<double>(workers) * kBit;
    Register("sign/pack_mean_difference" + suffix, 12 + kBit + bits, [=] {
      Signs().PackMeanDifference(Messages(workers), Vector(2), Vector(3), Bits(), Sums());
    });
    Register("sign/pack_mean_sum" + suffix, 8 + kBit + bits, [=] {
      Signs().PackMeanSum(Messages(workers), Message(31).scales, Vector(2), Bits(), Sums());
    });
    Register("sign/mean" + suffix, 4 + bits,
             [=] { Signs().Mean(Messages(workers), false, Vector(2)); });
  }
  Register("sign/add", 8 + kBit, [=] { Signs().Add(Message(0), 1, Vector(2)); });
  Register("sign/settle_error", 8, [=] { Signs().SettleError(Message(0).scales, Vector(2)); });
  Register("amsgrad", 36, [] {
    static const View v = Variance(5), v_max = Variance(6);
    TheDevice().Update(adam(), Vector(2), Vector(4), v, v_max, Vector(7));
  });
  Register("sign/add_and_update", 40 + kBit, [] {
    static const View v = Variance(8), v_max = Variance(9);
    Signs().AddAndUpdate(Message(0), adam(), Vector(2), Vector(4), v, v_max, Vector(7));
  });
  Register("frozen_adam", 16, [] {
    static const View v = Variance(10);
    TheDevice().Update(FrozenAdamUpdate{.common = {.learning_rate = 1e-4}}, Vector(4), v,
                       Vector(7));
  });
}

/// Top-K of normal values, of differences, and of values that are all the same.
void RegisterTopK() {
  static const int64_t k = static_cast<int64_t>(0.016 * kElements);
  static const auto top_k =
      TheDevice().MakeTopK({.size = kSize, .ranges = {{0, kElements}}, .k = k});
  static const Buffer indices = TheDevice().Allocate(4 * k), values = TheDevice().Allocate(4 * k);
  Register("top_k", 4, [] {
    top_k->Select({.values = Vector(0)}, {}, 0, indices.view(DataType::kInt32), values.view());
  });
  Register("top_k/difference", 8, [] {
    top_k->Select({.values = Vector(0)}, Vector(3), -1, indices.view(DataType::kInt32),
                  values.view());
  });
  Register("top_k/constant", 4, [] {
    static const Buffer constant = [] {
      Buffer buffer = TheDevice().Allocate(kSize * 4);
      std::fill_n(buffer.view().as<float>(), kElements, 0.5f);
      return buffer;
    }();
    top_k->Select({.values = constant.view()}, {}, 0, indices.view(DataType::kInt32),
                  values.view());
  });
  Register("scatter_add", 0.016 * 16, [] {
    TheDevice().ScatterAdd(indices.view(DataType::kInt32), values.view(), 0.5, Vector(2));
  });
}

void RegisterSums() {
  Register("evaluate", 12, [] { TheDevice().Evaluate({.values = Vector(0)}, 0.9, Vector(2)); });
  Register("sum_parts/4", 5, [] {
    const int64_t n = kSize / 4;
    TheDevice().SumParts(Vector(0), 0.25, Vector(2).Slice(0, n));
  });
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  thinwire::RegisterSigns();
  thinwire::RegisterTopK();
  thinwire::RegisterSums();
  benchmark::AddCustomContext("device", thinwire::TheDevice().description());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
