// thinwire bench step.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "comm/failure.h"
#include "kernels/bfloat16.h"
#include "kernels/random.h"
#include "layers/initialization.h"
#include "models/models.h"
#include "optim/links.h"
#include "train/bench.h"

namespace thinwire {
namespace {

constexpr double kLearningRate = 1e-4;  // small, so that no method leaves the numbers there are
constexpr int kWarmUp = 2;              // 1-bit Adam's first step may be its only uncompressed one

/// Seconds of a step, by name, in order.
using Phases = std::vector<std::pair<const char*, double>>;

/// One step whose phases wait for the device at both ends.
Phases TimePhases(SyntheticTraining& training, Device& device) {
  double backward_started = 0;
  training.network().set_layer_callback([&](const std::string&, LayerPhase phase) {
    if (phase != LayerPhase::kBackward || backward_started != 0) return;
    device.Synchronize();
    backward_started = MonotonicSeconds();
  });
  device.Synchronize();
  const double start = MonotonicSeconds();
  training.TakeGradient();
  device.Synchronize();
  const double update_started = MonotonicSeconds();
  training.network().set_layer_callback({});
  {
    const SynchronizedPhases synchronized(device);
    training.Update();
    device.Synchronize();
  }
  const double end = MonotonicSeconds();
  const StepCosts& costs = training.costs();
  const double known = costs.compress + costs.wire + costs.decode + costs.update;
  return {{"forward", backward_started - start},
          {"backward", update_started - backward_started},
          {"compress", costs.compress},
          {"wire", costs.wire},
          {"decode", costs.decode},
          {"update", costs.update},
          {"other", std::max(0.0, end - update_started - known)}};
}

}  // namespace

SyntheticTraining::SyntheticTraining(const LayerGraph& graph, const OptimizerOptions& options,
                                     int64_t batch_size, Device& device, Communicator& communicator,
                                     DataType activations)
    : batch_size_(batch_size),
      arena_(device, graph.tensor_specs(), DataType::kFloat32, activations),
      optimizer_(MakeOptimizer(options, arena_, communicator)),
      network_(graph, arena_, {.batch_size = batch_size, .activations = activations}) {
  InitializeParameters(graph, arena_, 0);
  arena_.RoundValues();
  network_.set_gradient_callback(optimizer_->buckets(), [this](const Range& bucket) {
    if (optimizer_->can_start_early()) optimizer_->StartEarly(bucket);
  });
  const View images = network_.images();
  RandomStream random(static_cast<uint64_t>(communicator.rank()), 0);
  std::vector<float> pixels(static_cast<size_t>(images.size));
  for (float& pixel : pixels) pixel = random.Uniform() - 0.5f;
  if (images.type == DataType::kBFloat16) {
    std::vector<BFloat16> rounded(pixels.size());
    std::transform(pixels.begin(), pixels.end(), rounded.begin(), ToBFloat16);
    device.CopyFromHost(rounded.data(), images);
  } else {
    device.CopyFromHost(pixels.data(), images);
  }
  std::vector<int32_t> labels(static_cast<size_t>(batch_size));
  for (size_t i = 0; i < labels.size(); ++i) {
    labels[i] = static_cast<int32_t>(static_cast<int64_t>(i) % graph.classes());
  }
  device.CopyFromHost(labels.data(), network_.labels());
}

void SyntheticTraining::TakeGradient() {
  optimizer_->BeginStep(kLearningRate);
  network_.ForwardBackward(1.0f / static_cast<float>(batch_size_), step_++);
}

void SyntheticTraining::Update() {
  optimizer_->Step(kLearningRate, {});
  optimizer_->CheckStep();
}

BenchReport BenchStep(Rank& rank, const Settings& settings, const BenchOptions& options) {
  const LayerGraph graph = BuildModel(settings.model, MakeModelOptions(settings));
  const int64_t batch_size = options.quick ? 2 : *settings.batch_size;
  Device& device = rank.device;
  SyntheticTraining training(graph, MakeOptimizerOptions(settings, rank.communicator), batch_size,
                             device, rank.communicator, ActivationType(settings));
  const auto step = [&] {
    Recording recording(device, settings.cuda_graph);
    training.TakeGradient();
    training.Update();
    recording.Stop();
    device.Synchronize();
  };
  for (int i = 1; i < kWarmUp; ++i) step();
  const double start = MonotonicSeconds();
  step();
  // All ranks take as many steps as rank 0 thinks fit.
  const TimingOptions timing = TimingOf(options);
  const auto affordable = static_cast<int64_t>(timing.seconds / (MonotonicSeconds() - start));
  const int64_t count = rank.communicator.AllGatherHost(
      std::clamp<int64_t>(affordable, timing.repetitions, 100'000))[0];

  std::vector<double> steps;
  for (int64_t i = 0; i < count; ++i) {
    const double begin = MonotonicSeconds();
    step();
    steps.push_back(MonotonicSeconds() - begin);
  }
  std::vector<Phases> samples;
  for (int64_t i = 0; i < count; ++i) samples.push_back(TimePhases(training, device));

  const double step_seconds = Median(steps);
  const double images_per_second =
      static_cast<double>(batch_size * rank.communicator.size()) / step_seconds;
  nlohmann::ordered_json json = {{"bench", "step"},
                                 {"device", device.description()},
                                 {"ranks", rank.communicator.size()},
                                 {"model", graph.name()},
                                 {"parameters", training.arena().parameter_count()},
                                 {"batch_size", batch_size},
                                 {"amp", settings.amp},
                                 {"opt", settings.opt},
                                 {"steps", count},
                                 {"images_per_second", images_per_second},
                                 {"step_ms", 1e3 * step_seconds}};
  std::string text = fmt::format(
      "{}{}\n{}, {} parameters, batch {}, {}, {} steps\n\n{:<10} {:>12.1f}\n{:<10} {:>12.4f} ms\n",
      device.description(), rank.alone() ? "" : ", " + rank.communicator.description(),
      graph.name(), training.arena().parameter_count(), batch_size, settings.opt, count, "images/s",
      images_per_second, "step", 1e3 * step_seconds);
  for (size_t i = 0; i < samples.front().size(); ++i) {
    std::vector<double> seconds;
    for (const Phases& sample : samples) seconds.push_back(sample[i].second);
    const char* const name = samples.front()[i].first;
    const double milliseconds = 1e3 * Median(std::move(seconds));
    text += fmt::format("{:<10} {:>12.4f} ms\n", name, milliseconds);
    json[fmt::format("{}_ms", name)] = milliseconds;
  }
  return {text, json.dump()};
}

}  // namespace thinwire
