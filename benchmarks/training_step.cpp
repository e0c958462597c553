// Times training steps and the convolutions within them, on request: compare_pytorch.py lets this
// program and PyTorch take turns.
//   training_step MODEL BATCH
// First prints what the model is; then answers each line of standard input with one JSON object:
//   step          one training step (forward, backward, SGD with momentum): {"seconds": …}
//   convolutions  each convolution of the network by itself, in each direction that training
//                 needs; the sum of the best times seen so far: {"best_seconds": …}
//   memory        {"peak_bytes": …} of the whole process
//   layers        one step with the time of each layer and phase: {"layers": [[name, phase, s]]}
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/random.h"
#include "layers/convolution.h"
#include "layers/initialization.h"
#include "layers/network.h"
#include "models/models.h"
#include "optim/optimizer.h"

namespace thinwire {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Fill(Device& device, View view, uint64_t seed) {
  RandomStream random(seed, 0);
  std::vector<float> values(static_cast<size_t>(view.size));
  for (float& value : values) value = random.Uniform() - 0.5f;
  device.CopyFromHost(values.data(), view);
}

/// A network's convolutions by themselves, on memory of their own.
class Convolutions {
 public:
  Convolutions(Device& device, const LayerGraph& graph, int64_t batch) : device_(device) {
    int64_t input_size = 0, output_size = 0, filter_size = 0;
    for (const auto& layer : graph.layers()) {
      const auto* convolution = dynamic_cast<const ConvolutionLayer*>(layer.get());
      if (convolution == nullptr) continue;
      ConvolutionShape shape = convolution->shape();
      shape.batch = batch;
      // The gradient of the image is never needed.
      const bool data = convolution->inputs()[0] != 0;
      entries_.push_back({device.MakeConvolution(shape), shape, data, {}});
      input_size = std::max(input_size, shape.input_size());
      output_size = std::max(output_size, shape.output_size());
      filter_size = std::max(filter_size, shape.filter_size() + shape.out_channels);
    }
    input_ = device.Allocate(input_size * 4);
    output_ = device.Allocate(output_size * 4);
    filter_ = device.Allocate(filter_size * 4);
    Fill(device, input_.view(), 1);
    Fill(device, output_.view(), 2);
    Fill(device, filter_.view(), 3);
  }

  double BestSeconds() {
    double sum = 0;
    for (Entry& entry : entries_) {
      const ConvolutionShape& shape = entry.shape;
      const View input = input_.view().Slice(0, shape.input_size());
      const View output = output_.view().Slice(0, shape.output_size());
      const View filter = filter_.view().Slice(0, shape.filter_size());
      const View bias =
          shape.bias ? filter_.view().Slice(shape.filter_size(), shape.out_channels) : View();
      Time(entry, 0, [&] { entry.operation->Forward(input, filter, bias, output); });
      if (entry.data) {
        Time(entry, 1, [&] { entry.operation->BackwardData(output, filter, input); });
      }
      Time(entry, 2, [&] { entry.operation->BackwardWeights(input, output, filter, bias); });
      // Gradients overwrote the filter; keep all values tame.
      Fill(device_, filter, 3);
      for (int direction = 0; direction < 3; ++direction) {
        if (direction != 1 || entry.data) sum += entry.best[direction];
      }
    }
    return sum;
  }

 private:
  struct Entry {
    std::unique_ptr<Convolution> operation;
    ConvolutionShape shape;
    bool data;
    double best[3] = {1e9, 1e9, 1e9};
  };

  template <typename Function>
  void Time(Entry& entry, int direction, const Function& function) {
    const double start = Now();
    function();
    device_.Synchronize();
    entry.best[direction] = std::min(entry.best[direction], Now() - start);
  }

  Device& device_;
  std::vector<Entry> entries_;
  Buffer input_, output_, filter_;
};

int Main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: training_step MODEL BATCH\n");
    return 2;
  }
  const int64_t batch = std::stoll(argv[2]);
  const auto device = MakeCpuDevice();
  const LayerGraph graph = BuildModel(argv[1], {});
  ParameterArena arena(*device, graph.tensor_specs());
  InitializeParameters(graph, arena, 0);
  Network network(graph, arena, {.batch_size = batch});
  Fill(*device, network.images(), 4);
  std::vector<int32_t> labels(static_cast<size_t>(batch));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % 10);
  device->CopyFromHost(labels.data(), network.labels());
  OptimizerOptions options;
  options.name = "momentum";
  const auto optimizer = MakeOptimizer(options, arena);
  std::unique_ptr<Convolutions> convolutions;  // made on first use: their memory is not the step's
  fmt::print("{{\"model\": \"{}\", \"parameters\": {}, \"activation_bytes\": {}}}\n", graph.name(),
             arena.parameter_count(), network.activation_bytes());
  std::fflush(stdout);

  uint64_t step = 0;
  const auto run_step = [&] {
    network.ForwardBackward(1.0f / static_cast<float>(batch), step++);
    optimizer->Step(0.01, {});
    device->Synchronize();
  };
  long peak_kilobytes = 0;
  for (std::string command; std::getline(std::cin, command);) {
    if (command == "step") {
      const double start = Now();
      run_step();
      fmt::print("{{\"seconds\": {}}}\n", Now() - start);
      if (!convolutions) {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        peak_kilobytes = usage.ru_maxrss;
      }
    } else if (command == "convolutions") {
      if (!convolutions) convolutions = std::make_unique<Convolutions>(*device, graph, batch);
      fmt::print("{{\"best_seconds\": {}}}\n", convolutions->BestSeconds());
    } else if (command == "memory") {
      fmt::print("{{\"peak_bytes\": {}}}\n", peak_kilobytes * 1024);
    } else if (command == "layers") {
      std::vector<std::tuple<std::string, LayerPhase, double>> starts;
      network.set_layer_callback([&](const std::string& layer, LayerPhase phase) {
        starts.emplace_back(layer, phase, Now());
      });
      run_step();
      network.set_layer_callback({});
      starts.emplace_back("end", LayerPhase::kBackward, Now());
      fmt::print("{{\"layers\": [");
      for (size_t i = 0; i + 1 < starts.size(); ++i) {
        const auto& [layer, phase, start] = starts[i];
        const char* name = phase == LayerPhase::kForward    ? "forward"
                           : phase == LayerPhase::kBackward ? "backward"
                                                            : "loss";
        fmt::print("{}[\"{}\", \"{}\", {}]", i == 0 ? "" : ", ", layer, name,
                   std::get<2>(starts[i + 1]) - start);
      }
      fmt::print("]}}\n");
    } else {
      fmt::print("{{}}\n");
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) try {
  return thinwire::Main(argc, argv);
} catch (const thinwire::Error& error) {
  fmt::print(stderr, "training_step: {}\n", error.what());
  return error.exit_code();
}
