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
#include <array>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "comm/failure.h"
#include "kernels/error.h"
#include "kernels/random.h"
#include "layers/convolution.h"
#include "layers/network.h"
#include "models/models.h"
#include "train/bench.h"

namespace thinwire {
namespace {

void Fill(Device& device, View view, uint64_t seed) {
  RandomStream random(seed, 0);
  std::vector<float> values(static_cast<size_t>(view.size));
  for (float& value : values) value = random.Uniform() - 0.5f;
  device.CopyFromHost(values.data(), view);
}

/// A network's convolutions by themselves, in the order of a training step. Each has memory of its
/// own, as it has in the network: with shared operands the caches would hold what they never do.
class Convolutions {
 public:
  Convolutions(Device& device, const LayerGraph& graph, int64_t batch) : device_(device) {
    for (const auto& layer : graph.layers()) {
      const auto* convolution = dynamic_cast<const ConvolutionLayer*>(layer.get());
      if (convolution == nullptr) continue;
      ConvolutionShape shape = convolution->shape();
      shape.batch = batch;
      Entry entry;
      entry.operation = device.MakeConvolution(shape);
      entry.has_bias = shape.bias;
      entry.needs_data = convolution->inputs()[0] != 0;  // the image's gradient is never needed
      const auto allocate = [&](int64_t size) { return device.Allocate(size * 4); };
      entry.input = allocate(shape.input_size());
      entry.input_gradient = allocate(shape.input_size());
      entry.output = allocate(shape.output_size());
      entry.filter = allocate(shape.filter_size());
      entry.filter_gradient = allocate(shape.filter_size());
      entry.bias = allocate(shape.out_channels);
      Fill(device, entry.input.view(), 1);
      Fill(device, entry.filter.view(), 2);
      entries_.push_back(std::move(entry));
    }
  }

  double BestSeconds() {
    for (Entry& entry : entries_) {
      const View bias = entry.has_bias ? entry.bias.view() : View();
      Time(entry.best[0], [&] {
        entry.operation->Forward(entry.input.view(), entry.filter.view(), bias,
                                 entry.output.view());
      });
    }
    double sum = 0;
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      const View bias = entry->has_bias ? entry->bias.view() : View();
      Time(entry->best[2], [&] {
        entry->operation->BackwardWeights(entry->input.view(), entry->output.view(),
                                          entry->filter_gradient.view(), bias);
      });
      if (entry->needs_data) {
        Time(entry->best[1], [&] {
          entry->operation->BackwardData(entry->output.view(), entry->filter.view(),
                                         entry->input_gradient.view());
        });
      }
      sum += entry->best[0] + entry->best[2] + (entry->needs_data ? entry->best[1] : 0);
    }
    return sum;
  }

 private:
  struct Entry {
    std::unique_ptr<Convolution> operation;
    bool has_bias = false, needs_data = false;
    Buffer input, input_gradient, output, filter, filter_gradient, bias;
    std::array<double, 3> best = {1e9, 1e9, 1e9};
  };

  template <typename Function>
  void Time(double& best, const Function& function) {
    const double start = MonotonicSeconds();
    function();
    device_.Synchronize();
    best = std::min(best, MonotonicSeconds() - start);
  }

  Device& device_;
  std::vector<Entry> entries_;
};

int Main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: training_step MODEL BATCH\n");
    return 2;
  }
  const int64_t batch = std::stoll(argv[2]);
  const auto device = MakeCpuDevice();
  const LayerGraph graph = BuildModel(argv[1], {});
  const auto communicator = MakeSingleCommunicator(*device);
  SyntheticTraining training(graph, {.name = "momentum"}, batch, *device, *communicator);
  Network& network = training.network();
  std::unique_ptr<Convolutions> convolutions;  // made on first use: their memory is not the step's
  fmt::print("{{\"model\": \"{}\", \"parameters\": {}, \"activation_bytes\": {}}}\n", graph.name(),
             training.arena().parameter_count(), network.activation_bytes());
  std::fflush(stdout);

  const auto run_step = [&] {
    training.TakeGradient();
    training.Update();
    device->Synchronize();
  };
  long peak_kilobytes = 0;
  for (std::string command; std::getline(std::cin, command);) {
    if (command == "step") {
      const double start = MonotonicSeconds();
      run_step();
      fmt::print("{{\"seconds\": {}}}\n", MonotonicSeconds() - start);
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
        starts.emplace_back(layer, phase, MonotonicSeconds());
      });
      run_step();
      network.set_layer_callback({});
      starts.emplace_back("end", LayerPhase::kBackward, MonotonicSeconds());
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
