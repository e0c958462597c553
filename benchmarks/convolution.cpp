// The convolutions of the CIFAR networks, ours against oneDNN's in the same layout, interleaved.
//
// usage: convolution [--network NAME] [--threads N] [--repetitions N] [--batch N] [--json]
// Each figure is the least of the repetitions: wall time, or with one thread the thread's CPU time,
// which other programs disturb less. The first layer has no backward data in a network.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/onednn.h"
#include "kernels/device.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

struct Layer {
  const char* network;
  int64_t count;  // layers of this shape in the network
  int64_t in_channels, size, out_channels, kernel, stride;
};

constexpr Layer kLayers[] = {
    {"resnet18", 1, 3, 32, 64, 3, 1},    {"resnet18", 4, 64, 32, 64, 3, 1},
    {"resnet18", 1, 64, 32, 128, 3, 2},  {"resnet18", 1, 64, 32, 128, 1, 2},
    {"resnet18", 3, 128, 16, 128, 3, 1}, {"resnet18", 1, 128, 16, 256, 3, 2},
    {"resnet18", 1, 128, 16, 256, 1, 2}, {"resnet18", 3, 256, 8, 256, 3, 1},
    {"resnet18", 1, 256, 8, 512, 3, 2},  {"resnet18", 1, 256, 8, 512, 1, 2},
    {"resnet18", 3, 512, 4, 512, 3, 1},  {"resnet20", 1, 3, 32, 16, 3, 1},
    {"resnet20", 6, 16, 32, 16, 3, 1},   {"resnet20", 1, 16, 32, 32, 3, 2},
    {"resnet20", 5, 32, 16, 32, 3, 1},   {"resnet20", 1, 32, 16, 64, 3, 2},
    {"resnet20", 5, 64, 8, 64, 3, 1},    {"vgg16_bn", 1, 3, 32, 64, 3, 1},
    {"vgg16_bn", 1, 64, 32, 64, 3, 1},   {"vgg16_bn", 1, 64, 16, 128, 3, 1},
    {"vgg16_bn", 1, 128, 16, 128, 3, 1}, {"vgg16_bn", 1, 128, 8, 256, 3, 1},
    {"vgg16_bn", 2, 256, 8, 256, 3, 1},  {"vgg16_bn", 1, 256, 4, 512, 3, 1},
    {"vgg16_bn", 2, 512, 4, 512, 3, 1},  {"vgg16_bn", 3, 512, 2, 512, 3, 1},
    {"wrn_16_4", 1, 3, 32, 16, 3, 1},    {"wrn_16_4", 1, 16, 32, 64, 3, 1},
    {"wrn_16_4", 1, 16, 32, 64, 1, 1},   {"wrn_16_4", 3, 64, 32, 64, 3, 1},
    {"wrn_16_4", 1, 64, 32, 128, 3, 2},  {"wrn_16_4", 1, 64, 32, 128, 1, 2},
    {"wrn_16_4", 3, 128, 16, 128, 3, 1}, {"wrn_16_4", 1, 128, 16, 256, 3, 2},
    {"wrn_16_4", 1, 128, 16, 256, 1, 2}, {"wrn_16_4", 3, 256, 8, 256, 3, 1},
};

struct Options {
  std::string network;  // empty: all
  int threads = 0;
  int repetitions = 5;
  int64_t batch = 128;
  bool json = false;
};

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (name == "--json") {
      options.json = true;
      continue;
    }
    ++i;
    if (value == nullptr) {
      fmt::print(stderr,
                 "usage: convolution [--network NAME] [--threads N] [--repetitions N] "
                 "[--batch N] [--json]\n");
      std::exit(name == "--help" ? 0 : 2);
    }
    if (name == "--network") {
      options.network = value;
    } else if (name == "--threads") {
      options.threads = std::atoi(value);
    } else if (name == "--repetitions") {
      options.repetitions = std::atoi(value);
    } else if (name == "--batch") {
      options.batch = std::atoll(value);
    } else {
      fmt::print(stderr, "convolution: there is no option {}\n", name);
      std::exit(2);
    }
  }
  return options;
}

double Now(bool cpu_time) {
  timespec time{};
  clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Buffer RandomBuffer(Device& device, int64_t size, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(size));
  RandomStream random(seed, 0);
  for (float& value : values) value = 2 * random.Uniform() - 1;
  Buffer buffer = device.Allocate(size * static_cast<int64_t>(sizeof(float)));
  device.CopyFromHost(values.data(), buffer.view());
  return buffer;
}

struct Times {
  double ours = std::numeric_limits<double>::infinity();
  double onednn = std::numeric_limits<double>::infinity();
};

void Run(const Options& options) {
  const auto device = MakeCpuDevice(options.threads);
  if (!options.json) fmt::print("{}, batch {}\n", device->description(), options.batch);
  std::vector<std::string> networks;
  std::vector<Times> totals;
  for (const Layer& layer : kLayers) {
    if (!options.network.empty() && options.network != layer.network) continue;
    if (networks.empty() || networks.back() != layer.network) {
      networks.emplace_back(layer.network);
      totals.push_back({0, 0});
    }
    const ConvolutionShape shape{.batch = options.batch,
                                 .height = layer.size,
                                 .width = layer.size,
                                 .in_channels = layer.in_channels,
                                 .out_channels = layer.out_channels,
                                 .kernel_height = layer.kernel,
                                 .kernel_width = layer.kernel,
                                 .stride_height = layer.stride,
                                 .stride_width = layer.stride,
                                 .padding_height = layer.kernel / 2,
                                 .padding_width = layer.kernel / 2};
    const Buffer input = RandomBuffer(*device, shape.input_size(), 1),
                 filter = RandomBuffer(*device, shape.filter_size(), 2),
                 gradient = RandomBuffer(*device, shape.output_size(), 3),
                 output = RandomBuffer(*device, shape.output_size(), 4),
                 input_gradient = RandomBuffer(*device, shape.input_size(), 5),
                 filter_gradient = RandomBuffer(*device, shape.filter_size(), 6);
    const auto ours = device->MakeConvolution(shape);
    const auto onednn = cpu::MakeOnednnConvolution(*device, shape);
    const auto call = [&](Convolution& convolution, int direction) {
      const double start = Now(options.threads == 1);
      if (direction == 0) {
        convolution.Forward(input.view(), filter.view(), {}, output.view());
      } else if (direction == 1) {
        convolution.BackwardData(gradient.view(), filter.view(), input_gradient.view());
      } else {
        convolution.BackwardWeights(input.view(), gradient.view(), filter_gradient.view(), {});
      }
      return Now(options.threads == 1) - start;
    };
    const double operations = 2e-9 * static_cast<double>(shape.output_size() * layer.in_channels *
                                                         layer.kernel * layer.kernel);
    for (int direction = 0; direction < 3; ++direction) {
      if (direction == 1 && layer.in_channels == 3) continue;
      Times best;
      for (int i = 0; i <= options.repetitions; ++i) {
        const double first = call(*ours, direction), second = call(*onednn, direction);
        if (i == 0) continue;  // warms up
        best.ours = std::min(best.ours, first);
        best.onednn = std::min(best.onednn, second);
      }
      totals.back().ours += best.ours * static_cast<double>(layer.count);
      totals.back().onednn += best.onednn * static_cast<double>(layer.count);
      const char* names[] = {"forward", "data", "weights"};
      const auto format =
          options.json ? R"({{"network": "{}", "count": {}, "in": {}, "size": {}, "out": {}, )"
                         R"("kernel": {}, "stride": {}, "direction": "{}", "ms": {:.4f}, )"
                         R"("gflops": {:.1f}, "onednn_ms": {:.4f}, "ratio": {:.3f}, )"
                         R"("algorithm": "{}"}})"
                       : "{:9} x{} {:3}@{:<2} -> {:3}, filter {}, stride {}  {:8} {:8.3f} ms "
                         "{:6.0f} GFLOP/s, "
                         "oneDNN {:8.3f} ms, x{:.2f}  {}";
      fmt::print("{}\n", fmt::format(fmt::runtime(format), layer.network, layer.count,
                                     layer.in_channels, layer.size, layer.out_channels,
                                     layer.kernel, layer.stride, names[direction], best.ours * 1e3,
                                     operations / best.ours, best.onednn * 1e3,
                                     best.onednn / best.ours, ours->algorithm(direction)));
    }
  }
  for (size_t i = 0; i < networks.size(); ++i) {
    fmt::print(fmt::runtime(options.json ? R"({{"network": "{}", "total_ms": {:.3f}, )"
                                           R"("onednn_total_ms": {:.3f}, "ratio": {:.3f}}})"
                                           "\n"
                                         : "{:9} all convolutions of a step {:8.1f} ms, oneDNN "
                                           "{:8.1f} ms, x{:.2f}\n"),
               networks[i], totals[i].ours * 1e3, totals[i].onednn * 1e3,
               totals[i].onednn / totals[i].ours);
  }
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) { thinwire::Run(thinwire::ParseOptions(argc, argv)); }
