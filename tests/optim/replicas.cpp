#include "tests/optim/replicas.h"

#include <fmt/format.h>

#include <cmath>
#include <stdexcept>

#include "kernels/bfloat16.h"

namespace thinwire {
namespace {

constexpr double kLearningRate = 0.01;

void CheckPadding(const ParameterArena& arena) {
  std::vector<double> values = Values(arena);
  for (const Segment& segment : arena.segments()) {
    std::fill_n(values.begin() + segment.offset, segment.size, 0.0);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) throw std::runtime_error(fmt::format("padding {} is {}", i, values[i]));
  }
}

/// float32 arenas have a copy in bfloat16.
void CheckCopy(const ParameterArena& arena, const std::string& what) {
  if (!arena.bfloat16_values()) return;
  const std::vector<double> values = Values(arena);
  std::vector<BFloat16> copy(values.size());
  arena.device().CopyToHost(arena.bfloat16_values(), copy.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (copy[i] == ToBFloat16(static_cast<float>(values[i]))) continue;
    throw std::runtime_error(
        fmt::format("{}: the copy of element {}, {}, is {}", what, i, values[i], ToFloat(copy[i])));
  }
}

}  // namespace

std::vector<double> TrainReplicas(const MethodCase& method, const std::string& server,
                                  DataType type, int64_t steps, Device& device,
                                  Communicator& communicator,
                                  const std::vector<TensorSpec>& specs) {
  ParameterArena arena(device, specs, type,
                       type == DataType::kFloat32 ? DataType::kBFloat16 : DataType::kFloat32);
  SetStart(arena);
  arena.RoundValues();
  OptimizerOptions options = method.options;
  options.server = server;
  const auto optimizer = MakeOptimizer(options, arena, communicator);
  for (int64_t step = 0; step < steps; ++step) {
    communicator.SetStep(step + 1);
    optimizer->BeginStep(kLearningRate);
    SetGradient(arena, communicator.rank(), step);
    optimizer->Step(kLearningRate, {});
    const auto checksums = communicator.AllGatherHost(static_cast<int64_t>(Checksum(arena)));
    for (size_t rank = 0; rank < checksums.size(); ++rank) {
      if (checksums[rank] == checksums[0]) continue;
      throw std::runtime_error(
          fmt::format("{}, {}, {} ranks: rank {} differs from rank 0 after "
                      "step {}",
                      method.label, server, communicator.size(), rank, step + 1));
    }
    CheckCopy(arena, fmt::format("{}, {}, {} ranks, step {}", method.label, server,
                                 communicator.size(), step + 1));
  }
  CheckPadding(arena);
  return Values(arena);
}

double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

}  // namespace thinwire
