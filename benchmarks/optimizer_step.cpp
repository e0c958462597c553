// What a step of an optimizer costs beside the wire: seconds in compressing, decoding and updating
// at ResNet-18's size, on ranks that are threads, one core each. Between threads the wire is copies
// of memory, which is what an uncompressed all-reduce cannot do without on any machine.
//   optimizer_step [RANKS [STEPS]]      a line a method; then CD-Adam's ratio to AMSGrad
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/timing.h"

namespace thinwire {
namespace {

/// Milliseconds a step.
struct Phases {
  double compress = 0, wire = 0, decode = 0, update = 0;
};

struct Samples {
  std::vector<double> compress, wire, decode, update;
};

void Fill(Device& device, View view, int rank) {
  std::vector<float> values(static_cast<size_t>(view.size));
  uint32_t state = 12345u + static_cast<uint32_t>(rank);
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int32_t>(state)) * 1e-10f;
  }
  device.CopyFromHost(values.data(), view);
}

/// The methods take turns, step by step, so that the machine's moods hit all of them.
std::map<std::string, Phases> Measure(const std::vector<std::string>& names, int ranks, int steps) {
  std::map<std::string, Samples> samples;
  ThreadGroup group(ranks);
  group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    const LayerGraph graph = BuildModel("resnet18_cifar", {});
    std::vector<std::unique_ptr<ParameterArena>> arenas;
    std::vector<std::unique_ptr<Optimizer>> optimizers;
    for (const std::string& name : names) {
      arenas.push_back(std::make_unique<ParameterArena>(*device, graph.tensor_specs()));
      optimizers.push_back(
          MakeOptimizer({.name = name, .freeze_steps = 1}, *arenas.back(), *communicator));
    }
    for (int step = 0; step < steps + 2; ++step) {
      for (size_t i = 0; i < names.size(); ++i) {
        Fill(*device, arenas[i]->gradients(), rank + step);
        communicator->Barrier();
        optimizers[i]->BeginStep(1e-4);
        optimizers[i]->Step(1e-4, {});
        if (rank != 0 || step < 2) continue;
        const StepCosts& costs = optimizers[i]->costs();
        samples[names[i]].compress.push_back(costs.compress);
        samples[names[i]].wire.push_back(costs.wire);
        samples[names[i]].decode.push_back(costs.decode);
        samples[names[i]].update.push_back(costs.update);
      }
    }
  });
  std::map<std::string, Phases> phases;
  for (const auto& [name, sample] : samples) {
    phases[name] = {1e3 * Median(sample.compress), 1e3 * Median(sample.wire),
                    1e3 * Median(sample.decode), 1e3 * Median(sample.update)};
  }
  return phases;
}

void Run(int ranks, int steps) {
  const std::vector<std::string> names = {"amsgrad", "cd-adam", "ef21-bc", "onebit-adam",
                                          "saef-sgdm"};
  const auto phases = Measure(names, ranks, steps);
  fmt::print("{:12} {:>9} {:>9} {:>9} {:>9}   (ms a step, {} ranks)\n", "method", "compress",
             "wire", "decode", "update", ranks);
  for (const std::string& name : names) {
    const Phases& p = phases.at(name);
    fmt::print("{:12} {:9.2f} {:9.2f} {:9.2f} {:9.2f}\n", name, p.compress, p.wire, p.decode,
               p.update);
  }
  const Phases &cd = phases.at("cd-adam"), &plain = phases.at("amsgrad");
  const double own = cd.compress + cd.decode + cd.update;
  fmt::print(
      "cd-adam's compress + decode + update: {:.2f} ms, {:.2f} times amsgrad's update and "
      "copies, {:.2f} ms ({:.2f} times its update alone)\n",
      own, own / (plain.update + plain.wire), plain.update + plain.wire, own / plain.update);
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  thinwire::Run(argc > 1 ? std::atoi(argv[1]) : 2, argc > 2 ? std::atoi(argv[2]) : 15);
  return 0;
}
