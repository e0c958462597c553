// Times an optimizer's steps on a vector of ResNet-18's size, on as many ranks as mpirun starts:
//   wire_steps METHOD STEPS [INDEX_CODING VALUE_TYPE]
// Gradients are random, each rank's its own, and the same in every step, so that a step is the
// optimizer's work and its messages alone. Two steps go before those that count: connections and
// memory are made in them, and the first is 1-bit Adam's only one without compression.
// Rank 0 prints one line: milliseconds a step (median), of these in collectives, and bytes a step
// that a rank sent or received, whichever is more.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/failure.h"
#include "kernels/device.h"
#include "kernels/error.h"
#include "kernels/parameter_arena.h"
#include "kernels/random.h"
#include "optim/optimizer.h"
#include "train/timing.h"

namespace thinwire {
namespace {

constexpr int64_t kParameters = 11'173'962;  // ResNet-18 for CIFAR
constexpr int kUncounted = 2;
constexpr double kTimeoutSeconds = 900;  // an uncompressed step at 10 Mbit/s takes a minute

void FillGradient(ParameterArena& arena, int rank) {
  std::vector<float> values(static_cast<size_t>(arena.padded_size()));
  RandomStream random(0, static_cast<uint64_t>(rank));
  for (int64_t i = 0; i < arena.parameter_count(); ++i) values[i] = random.Uniform() - 0.5f;
  arena.device().CopyFromHost(values.data(), arena.gradients());
}

void Run(Communicator& communicator, Device& device, const OptimizerOptions& options, int steps) {
  ParameterArena arena(device, {{"weight", TensorRole::kLinearWeight, {kParameters}, {}}});
  FillGradient(arena, communicator.rank());
  const auto optimizer = MakeOptimizer(options, arena, communicator);

  std::vector<double> whole, in_collectives;
  int64_t bytes = 0;
  for (int step = 0; step < kUncounted + steps; ++step) {
    communicator.SetStep(step);
    communicator.Barrier();
    const Traffic before = communicator.traffic();
    const double start = MonotonicSeconds(), seconds = communicator.seconds();
    optimizer->BeginStep(1e-4);
    optimizer->Step(1e-4, {});
    const Traffic& after = communicator.traffic();
    bytes = std::max(after.total_sent() - before.total_sent(),
                     after.total_received() - before.total_received());
    in_collectives.push_back(communicator.seconds() - seconds);
    communicator.Barrier();
    whole.push_back(MonotonicSeconds() - start);
  }
  whole.erase(whole.begin(), whole.begin() + kUncounted);
  in_collectives.erase(in_collectives.begin(), in_collectives.begin() + kUncounted);
  if (communicator.rank() == 0) {
    fmt::print("{:.2f} {:.2f} {}\n", 1e3 * Median(whole), 1e3 * Median(in_collectives), bytes);
  }
}

OptimizerOptions ReadOptions(int argc, char** argv) {
  OptimizerOptions options{.name = argv[1], .freeze_steps = 1};
  if (argc == 5) {
    options.index_coding = argv[3];
    options.value_type = argv[4];
  }
  return options;
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  using thinwire::MpiSession;
  std::unique_ptr<MpiSession> session;
  try {
    session = std::make_unique<MpiSession>(
        argc, argv, thinwire::CommunicatorOptions{.timeout_seconds = thinwire::kTimeoutSeconds});
    if (argc != 3 && argc != 5) {
      throw thinwire::Error("wire_steps got a wrong number of arguments",
                            "call it as wire_steps METHOD STEPS [INDEX_CODING VALUE_TYPE]",
                            thinwire::Error::Kind::kUsage);
    }
    const auto device = thinwire::MakeCpuDevice();
    const auto communicator = session->Join(*device);
    thinwire::Run(*communicator, *device, thinwire::ReadOptions(argc, argv),
                  std::max(1, std::atoi(argv[2])));
    return 0;
  } catch (const thinwire::Error& error) {
    if (session != nullptr) session->Abort(error.what(), error.exit_code());
    fmt::print(stderr, "{}\n", error.what());
    return error.exit_code();
  }
}
