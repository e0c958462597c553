// thinwire bench kernels.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/bench.h"
#include "train/kernel_cases.h"

namespace thinwire {
namespace {

/// Sizes that outgrow the caches, or, to be quick, hardly anything.
struct Sizes {
  int64_t elements;  // of a vector
  int64_t channels, classes;
  int64_t matrix;  // rows and columns
  int64_t images;  // a batch of the convolutions
};

Sizes SizesFor(const Device& device, bool quick) {
  if (quick) return {.elements = 5000, .channels = 16, .classes = 10, .matrix = 32, .images = 1};
  const bool gpu = device.kind() == std::string("cuda");
  return {.elements = gpu ? int64_t{1} << 26 : 11'173'962,  // ResNet-18's parameters
          .channels = 64,
          .classes = 1000,
          .matrix = gpu ? 8192 : 1024,
          .images = gpu ? 256 : 16};
}

/// ResNet-18's 3x3 convolutions on CIFAR, one of each stage.
std::vector<ConvolutionShape> Convolutions(int64_t images, bool quick) {
  std::vector<ConvolutionShape> shapes;
  for (const auto& [size, channels] : {std::pair{32, 64}, {16, 128}, {8, 256}, {4, 512}}) {
    shapes.push_back({.batch = images,
                      .height = size,
                      .width = size,
                      .in_channels = quick ? 4 : channels,
                      .out_channels = quick ? 4 : channels,
                      .kernel_height = 3,
                      .kernel_width = 3,
                      .padding_height = 1,
                      .padding_width = 1});
  }
  if (quick) shapes.resize(1);
  return shapes;
}

struct Measured {
  std::string name;
  double bytes = 0, operations = 0, seconds = 0;
  double share = 0;  // of a copy's bytes a second, or of the fastest product's operations

  double rate() const { return (bytes > 0 ? bytes : operations) / seconds; }
};

class KernelBench {
 public:
  KernelBench(Device& device, const BenchOptions& options)
      : device_(device),
        timing_(TimingOf(options)),
        sizes_(SizesFor(device, options.quick)),
        quick_(options.quick) {}

  BenchReport Run() {
    MeasureMemory();
    MeasureProducts();
    return Report();
  }

 private:
  /// A copy takes turns with each kernel: what else the machine does hits both.
  void MeasureMemory() {
    KernelOperands operands(device_, sizes_.elements);
    const KernelCase copy = CopyCase(operands);
    const auto measure = [&](const KernelCase& kernel) {
      const std::function<void()> works[] = {kernel.run, copy.run};
      const std::vector<double> seconds = MedianSeconds(device_, works, timing_);
      const double of_copy = copy.bytes / seconds[1];
      copies_.push_back(of_copy);
      memory_.push_back({.name = kernel.name, .bytes = kernel.bytes, .seconds = seconds[0]});
      memory_.back().share = memory_.back().rate() / of_copy;
    };
    measure(copy);
    for (auto* make : {CompressionCases, UpdateCases, ElementwiseCases}) {
      for (const KernelCase& kernel : make(operands)) measure(kernel);
    }
    for (const bool residual : {false, true}) {
      for (const KernelCase& kernel : BatchNormCases(operands, sizes_.channels, residual)) {
        measure(kernel);
      }
    }
    measure(LossCase(operands, sizes_.classes));
  }

  void MeasureProducts() {
    const auto measure = [&](const std::vector<KernelCase>& kernels) {
      for (const KernelCase& kernel : kernels) {
        const std::vector<double> seconds = MedianSeconds(device_, {&kernel.run, 1}, timing_);
        products_.push_back(
            {.name = kernel.name, .operations = kernel.operations, .seconds = seconds[0]});
      }
    };
    measure(LinearCases(device_, sizes_.matrix));
    for (const Measured& product : products_) peak_ = std::max(peak_, product.rate());
    for (const ConvolutionShape& shape : Convolutions(sizes_.images, quick_)) {
      measure(ConvolutionCases(device_, shape));
    }
    for (Measured& product : products_) product.share = product.rate() / peak_;
  }

  BenchReport Report() const {
    const double copy = Median(copies_);
    nlohmann::ordered_json json = {{"bench", "kernels"},
                                   {"device", device_.description()},
                                   {"elements", sizes_.elements},
                                   {"copy_gb_per_s", 1e-9 * copy},
                                   {"product_tflop_per_s", 1e-12 * peak_},
                                   {"kernels", nlohmann::ordered_json::array()}};
    std::string text = fmt::format(
        "{}\nvectors of {} float32; a copy moves {:.1f} GB/s, the fastest matrix product takes "
        "{:.3f} TFLOP/s\n\n{:<34} {:>10} {:>12} {:>16}\n",
        device_.description(), sizes_.elements, 1e-9 * copy, 1e-12 * peak_, "kernel", "ms", "GB/s",
        "share of copy");
    for (const Measured& kernel : memory_) {
      text += fmt::format("{:<34} {:>10.4f} {:>12.2f} {:>16.3f}\n", kernel.name,
                          1e3 * kernel.seconds, 1e-9 * kernel.rate(), kernel.share);
      json["kernels"].push_back({{"name", kernel.name},
                                 {"ms", 1e3 * kernel.seconds},
                                 {"bytes", kernel.bytes},
                                 {"gb_per_s", 1e-9 * kernel.rate()},
                                 {"share", kernel.share}});
    }
    text += fmt::format("\n{:<34} {:>10} {:>12} {:>16}\n", "kernel", "ms", "TFLOP/s",
                        "share of product");
    for (const Measured& kernel : products_) {
      text += fmt::format("{:<34} {:>10.4f} {:>12.4f} {:>16.3f}\n", kernel.name,
                          1e3 * kernel.seconds, 1e-12 * kernel.rate(), kernel.share);
      json["kernels"].push_back({{"name", kernel.name},
                                 {"ms", 1e3 * kernel.seconds},
                                 {"operations", kernel.operations},
                                 {"tflop_per_s", 1e-12 * kernel.rate()},
                                 {"share", kernel.share}});
    }
    return {text, json.dump()};
  }

  Device& device_;
  TimingOptions timing_;
  Sizes sizes_;
  bool quick_;
  std::vector<double> copies_;  // bytes a second
  std::vector<Measured> memory_, products_;
  double peak_ = 0;  // operations a second
};

}  // namespace

BenchReport BenchKernels(Device& device, const BenchOptions& options) {
  return KernelBench(device, options).Run();
}

}  // namespace thinwire
