// Steps of every method, whose learning rate changes each time, as CUDA graphs.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "tests/device_test.h"
#include "tests/optim/method_cases.h"

namespace thinwire {
namespace {

/// What this thread has launched.
struct Launches {
  int64_t graphs = 0, kernels = 0;
  bool operator==(const Launches&) const = default;
};
thread_local Launches launches;

void PrintTo(const Launches& counts, std::ostream* out) {
  *out << counts.graphs << " graphs and " << counts.kernels << " kernels";
}

}  // namespace
}  // namespace thinwire

// They take the place of CUDA's in this program.
extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  static const auto real =
      reinterpret_cast<decltype(&cudaGraphLaunch)>(dlsym(RTLD_NEXT, "cudaGraphLaunch"));
  ++thinwire::launches.graphs;
  return real(graph, stream);
}
extern "C" cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* configuration,
                                           const void* kernel, void** arguments) {
  static const auto real =
      reinterpret_cast<decltype(&cudaLaunchKernelExC)>(dlsym(RTLD_NEXT, "cudaLaunchKernelExC"));
  ++thinwire::launches.kernels;
  return real(configuration, kernel, arguments);
}

namespace thinwire {
namespace {

/// By the last three of them every kind of step that a method has is a graph already.
constexpr int64_t kSteps = 11;

struct Setting {
  int gpus;
  std::string server;
};

struct Training {
  std::vector<double> end;           // parameters, of rank 0
  std::vector<Launches> last_steps;  // of each rank
};

/// Trains with a GPU a rank.
Training Train(const OptimizerOptions& options, const Setting& setting, bool record) {
  Training run;
  run.last_steps.resize(static_cast<size_t>(setting.gpus));
  ThreadGroup group(setting.gpus);
  group.Run([&](int rank) {
    const auto device = MakeCudaDevice(rank);
    const auto communicator = setting.gpus == 1 ? MakeSingleCommunicator(*device)
                                                : WithNccl(group.Join(rank, *device), *device);
    ParameterArena arena(*device, OddSpecs(), DataType::kFloat32, DataType::kBFloat16);
    SetStart(arena);
    arena.RoundValues();
    const auto optimizer = MakeOptimizer(options, arena, *communicator);
    const TestBuffer<double> squares(*device, 1);
    const TestBuffer<float> scale(*device, 1), other(*device, 1);
    Launches before;
    for (int64_t step = 0; step < kSteps; ++step) {
      const double rate = 0.01 / static_cast<double>(1 + step);
      communicator->SetStep(step + 1);
      SetGradient(arena, rank, step);
      if (step == kSteps - 3) before = launches;
      Recording recording(*device, record);
      optimizer->BeginStep(rate);
      for (int i = 0; i < 8; ++i) device->Zero(other);  // layers' work, so that a graph is worth it
      device->SumOfSquares(arena.gradients(), squares);
      device->ClipScale(squares, 1, scale);
      optimizer->Step(rate, scale.view());
      recording.Stop();
      optimizer->CheckStep();
    }
    run.last_steps[static_cast<size_t>(rank)] = {launches.graphs - before.graphs,
                                                 launches.kernels - before.kernels};
    if (rank == 0) run.end = Values(arena);
  });
  return run;
}

/// Whether the host reads or writes messages within a step.
bool HostTakesPart(const OptimizerOptions& options, const Setting& setting) {
  static const std::set<std::string> usually_sparse = {"topk-amsgrad", "ef21",       "ef21-bc",
                                                       "ef21-sgdm",    "ef21-sgd2m", "ef14"};
  const bool chooses = options.compressor == "topk" ||
                       (options.compressor == "auto" && usually_sparse.contains(options.name));
  const bool coded = options.index_coding != "plain" || options.value_type != "f32";
  const bool several_servers = setting.gpus > 1 && setting.server == "sharded";
  return options.compressor == "randk" || (chooses && (coded || several_servers));
}

class CudaReplayTest : public ::testing::TestWithParam<MethodCase> {};

INSTANTIATE_TEST_SUITE_P(All, CudaReplayTest, ::testing::ValuesIn(AllMethodCases()),
                         [](const auto& info) { return info.param.label; });

// Nothing that is a step's own keeps it from being a graph, after two that were alike but for that.
TEST_P(CudaReplayTest, StepsAreAGraphEachWhateverTheLearningRate) {
  if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
  for (const Setting& setting : {Setting{1, "sharded"}, {2, "sharded"}, {2, "central"}}) {
    if (CudaDeviceCount() < setting.gpus) continue;
    SCOPED_TRACE(fmt::format("{} GPUs, {}", setting.gpus, setting.server));
    OptimizerOptions options = GetParam().options;
    options.server = setting.server;
    // So that each kind of step comes soon, and again.
    options.freeze_steps = 2;
    options.error_average_period = std::min<int64_t>(options.error_average_period, 2);
    const Training recorded = Train(options, setting, true),
                   direct = Train(options, setting, false);
    EXPECT_EQ(recorded.end, direct.end);
    if (HostTakesPart(options, setting)) continue;
    for (size_t rank = 0; rank < recorded.last_steps.size(); ++rank) {
      EXPECT_EQ(recorded.last_steps[rank], (Launches{.graphs = 3, .kernels = 0})) << rank;
      EXPECT_EQ(direct.last_steps[rank].graphs, 0) << rank;
      EXPECT_GT(direct.last_steps[rank].kernels, 0) << rank;
    }
  }
}

}  // namespace
}  // namespace thinwire
