// The memory-bound operations against a plain copy, in one run.
//
// Each pass reports GB_per_s, counting the bytes that the algorithm cannot avoid (an add: two
// operands and the result; Adam: the gradient once, both moments and the parameters twice), and
// share_of_copy, its speed over a plain copy's. Buffers outgrow the last-level cache unless the
// name says "cached".
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace thinwire {
namespace {

constexpr int64_t kLarge = int64_t{1} << 24;   // elements: 64 MiB a tensor
constexpr int64_t kCached = int64_t{1} << 19;  // 2 MiB a tensor

/// Never destroyed, so that it outlives whatever holds its memory.
Device& TheDevice() {
  static Device& device = *MakeDevice("cpu").release();
  return device;
}

/// Tensor `index` of the benchmarks' shared memory, of `size` elements.
View Tensor(size_t index, int64_t size) {
  static std::map<size_t, Buffer> buffers;
  auto found = buffers.find(index);
  if (found == buffers.end()) {
    Buffer buffer = TheDevice().Allocate(kLarge * SizeOf(DataType::kFloat32));
    float* values = buffer.view().as<float>();
    for (int64_t i = 0; i < kLarge; ++i) {
      values[i] = static_cast<float>((i * 7919 + static_cast<int64_t>(index)) % 1021) / 512 - 1;
    }
    found = buffers.emplace(index, std::move(buffer)).first;
  }
  return found->second.view().Slice(0, size);
}

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Times `work`, which moves `floats` float32 values an element, in turn with a copy: a machine
/// that others use too changes its speed from one second to the next, and the two share what comes.
/// The counters are medians.
void Run(benchmark::State& state, int64_t size, double floats, const std::function<void()>& work) {
  const auto copy = [=] { TheDevice().Copy(Tensor(0, size), Tensor(1, size)); };
  std::vector<double> bandwidths, shares;
  work();
  for (auto _ : state) {
    const double copy_seconds = Seconds(copy);
    const double seconds = Seconds(work);
    state.SetIterationTime(seconds);
    bandwidths.push_back(4e-9 * floats * static_cast<double>(size) / seconds);
    shares.push_back(floats / 2 * copy_seconds / seconds);
  }
  auto median = [](std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  state.counters["GB_per_s"] = median(bandwidths);
  state.counters["share_of_copy"] = median(shares);
}

void Register(const std::string& name, double floats, const std::function<void(int64_t)>& work) {
  for (const bool cached : {false, true}) {
    const int64_t size = cached ? kCached : kLarge;
    benchmark::RegisterBenchmark(
        (name + (cached ? "/cached" : "")).c_str(),
        [=](benchmark::State& state) { Run(state, size, floats, [=] { work(size); }); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

void RegisterElementwise() {
  Register("copy", 2, [](int64_t n) { TheDevice().Copy(Tensor(0, n), Tensor(1, n)); });
  Register("add", 3,
           [](int64_t n) { TheDevice().Add(Tensor(0, n), Tensor(1, n), false, Tensor(2, n)); });
  Register("add+relu", 3,
           [](int64_t n) { TheDevice().Add(Tensor(0, n), Tensor(1, n), true, Tensor(2, n)); });
  Register("relu", 2, [](int64_t n) { TheDevice().Relu(Tensor(0, n), Tensor(1, n)); });
  Register("relu_backward", 3,
           [](int64_t n) { TheDevice().ReluBackward(Tensor(0, n), Tensor(1, n), Tensor(2, n)); });
  Register("dropout", 2,
           [](int64_t n) { TheDevice().Dropout(Tensor(0, n), 0.3f, 1, 2, Tensor(1, n)); });
  Register("average", 3, [](int64_t n) { TheDevice().Average(Tensor(0, n), 0.999, Tensor(1, n)); });
  Register("sum_of_squares", 1, [](int64_t n) {
    static const Buffer result = TheDevice().Allocate(8);
    TheDevice().SumOfSquares(Tensor(0, n), result.view(DataType::kFloat64));
  });
  Register("first_non_finite", 1,
           [](int64_t n) { benchmark::DoNotOptimize(TheDevice().FirstNonFinite(Tensor(0, n))); });
}

void RegisterUpdates() {
  static const UpdateCommon common{.learning_rate = 1e-3};
  Register("momentum", 5, [](int64_t n) {
    TheDevice().Update(MomentumUpdate{.common = common, .momentum = 0.9}, Tensor(0, n),
                       Tensor(1, n), Tensor(2, n));
  });
  Register("adam", 7, [](int64_t n) {
    TheDevice().Update(AdamUpdate{.common = common}, Tensor(0, n), Tensor(1, n), Tensor(3, n), {},
                       Tensor(2, n));
  });
  Register("amsgrad", 9, [](int64_t n) {
    TheDevice().Update(AdamUpdate{.common = common, .form = AdamUpdate::Form::kPaper}, Tensor(0, n),
                       Tensor(1, n), Tensor(3, n), Tensor(4, n), Tensor(2, n));
  });
  Register("rmsprop", 5, [](int64_t n) {
    TheDevice().Update(RmspropUpdate{.common = common}, Tensor(0, n), Tensor(3, n), {},
                       Tensor(2, n));
  });
  Register("sign_sgd", 3, [](int64_t n) {
    TheDevice().Update(SignSgdUpdate{.common = common}, Tensor(0, n), {}, Tensor(2, n));
  });
}

/// A batch normalisation of `size` elements, with its small operands.
struct BatchNormCase {
  BatchNormShape shape;
  std::unique_ptr<BatchNorm> operation;
  Buffer memory;

  BatchNormCase(int64_t size, int64_t channels, bool residual)
      : shape{.rows = size / channels, .channels = channels, .residual = residual, .relu = true},
        operation(TheDevice().MakeBatchNorm(shape)),
        memory(TheDevice().Allocate(8 * channels * SizeOf(DataType::kFloat32))) {
    for (int64_t c = 0; c < channels; ++c) small(0).as<float>()[c] = 1;
  }
  View small(int64_t i) const { return memory.view().Slice(i * shape.channels, shape.channels); }
  View large(size_t i) const { return Tensor(i, shape.rows * shape.channels); }
  View optional(size_t i) const { return shape.residual ? large(i) : View{}; }

  void Forward() const {
    operation->ForwardTraining(large(0), optional(2), small(0), small(1), small(2), small(3),
                               small(4), small(5), large(1));
  }
  void Inference() const {
    operation->ForwardInference(large(0), optional(2), small(0), small(1), small(2), small(3),
                                large(1));
  }
  /// With a residual, its gradient is written where y's was.
  void Backward() const {
    operation->Backward(large(0), optional(1), large(3), {}, small(0), small(1), small(4), small(5),
                        {}, large(4), optional(3), small(6), small(7));
  }
};

void RegisterBatchNorm() {
  for (const int64_t channels : {16, 32, 64, 100, 256, 512, 2048}) {
    for (const bool residual : {false, true}) {
      const std::string name =
          "batch_norm" + std::string(residual ? "+add" : "") + "+relu/" + std::to_string(channels);
      auto with_case = [=](auto method) {
        return [=](int64_t size) {
          static std::map<std::tuple<int64_t, int64_t, bool>, std::unique_ptr<BatchNormCase>> cases;
          auto& found = cases[{size, channels, residual}];
          if (!found) {
            found = std::make_unique<BatchNormCase>(size, channels, residual);
            found->Forward();
          }
          ((*found).*method)();
        };
      };
      // Forward: x, then x again, (residual,) y. Backward: x, gradient, then both again, and the
      // gradient of x; with a residual also y and the masked gradient written.
      Register(name + "/forward", residual ? 4 : 3, with_case(&BatchNormCase::Forward));
      Register(name + "/inference", residual ? 3 : 2, with_case(&BatchNormCase::Inference));
      Register(name + "/backward", residual ? 7 : 5, with_case(&BatchNormCase::Backward));
    }
  }
}

void RegisterPooling() {
  // As ResNet's first pooling, 112x112x64 to 56x56, on as many images as fit.
  static const auto shape = [](int64_t size) {
    return PoolingShape{.batch = std::max<int64_t>(1, size / (112 * 112 * 64)),
                        .height = 112,
                        .width = 112,
                        .channels = 64,
                        .window_height = 3,
                        .window_width = 3,
                        .padding_height = 1,
                        .padding_width = 1};
  };
  static const auto operation = [](int64_t size) -> Pooling& {
    static std::map<int64_t, std::unique_ptr<Pooling>> made;
    auto& found = made[size];
    if (!found) found = TheDevice().MakePooling(shape(size));
    return *found;
  };
  static const auto input = [](int64_t size) {
    return Tensor(0, shape(size).batch * 112 * 112 * 64);
  };
  static const auto saved = [](int64_t size) {
    return View{Tensor(5, 1).data, input(size).size / 4, DataType::kUint8};
  };
  for (const int64_t size : {kLarge, int64_t{112 * 112 * 64}}) {
    const std::string suffix = size == kLarge ? "" : "/cached";
    // x, a quarter of it as y, and a byte for each of y.
    const double elements = static_cast<double>(input(size).size);
    const double floats = elements * (1 + 0.25 + 0.0625) / static_cast<double>(size);
    benchmark::RegisterBenchmark(("max_pooling/forward" + suffix).c_str(),
                                 [=](benchmark::State& state) {
                                   const View x = input(size), y = Tensor(1, x.size / 4);
                                   Run(state, size, floats,
                                       [=] { operation(size).Forward(x, y, saved(size)); });
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(("max_pooling/backward" + suffix).c_str(),
                                 [=](benchmark::State& state) {
                                   const View x = input(size), y = Tensor(1, x.size / 4);
                                   operation(size).Forward(x, y, saved(size));
                                   Run(state, size, floats,
                                       [=] { operation(size).Backward(y, saved(size), x); });
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
  Register("global_average_pooling/forward", 1, [](int64_t n) {
    static const auto make = [](int64_t size) {
      return TheDevice().MakeGlobalAveragePooling({size / (64 * 512), 64, 512});
    };
    static const auto large = make(kLarge), cached = make(kCached);
    (n == kLarge ? large : cached)->Forward(Tensor(0, n), Tensor(1, n / 64));
  });
}

void RegisterLoss() {
  benchmark::RegisterBenchmark(
      "loss/256x1000",
      [](benchmark::State& state) {
        const auto loss = TheDevice().MakeLoss({.batch = 256, .classes = 1000});
        const Buffer labels = TheDevice().Allocate(256 * SizeOf(DataType::kInt32));
        for (auto _ : state) {
          loss->Run(Tensor(0, 256 * 1000), labels.view(DataType::kInt32), 1, Tensor(1, 256 * 1000));
        }
      })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  thinwire::RegisterElementwise();
  thinwire::RegisterUpdates();
  thinwire::RegisterBatchNorm();
  thinwire::RegisterPooling();
  thinwire::RegisterLoss();
  benchmark::AddCustomContext("device", thinwire::TheDevice().description());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
