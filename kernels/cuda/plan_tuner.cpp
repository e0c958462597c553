#include "kernels/cuda/plan_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/error.h"
#include "kernels/memory_use.h"

namespace thinwire::cuda {
namespace {

constexpr int kMostTried = 8;  // plans; heuristics' later guesses are seldom the fastest
constexpr int kTrials = 5;     // of which the fastest counts
constexpr int kRuns = 3;       // of a trial, so that launching does not show

}  // namespace

PlanTuner::PlanTuner(Device& device, const Queue& queue, std::string gpu, std::string cache_file)
    : device_(device), queue_(queue), gpu_(std::move(gpu)), cache_(std::move(cache_file)) {
  THINWIRE_CUDA_CHECK(cudaEventCreate(&start_));
  THINWIRE_CUDA_CHECK(cudaEventCreate(&stop_));
}

PlanTuner::~PlanTuner() {
  cudaEventDestroy(start_);
  cudaEventDestroy(stop_);
}

std::optional<size_t> PlanTuner::Choose(const std::string& what, const PlanProposals& proposals) {
  const std::vector<std::string>& names = proposals.names;
  std::optional<size_t> chosen;
  const auto accept = [&](const std::string& choice) {
    const auto found = std::find(names.begin(), names.end(), choice);
    if (found == names.end()) return false;
    const auto number = static_cast<size_t>(found - names.begin());
    if (!proposals.build(number)) return false;
    chosen = number;
    return true;
  };
  cache_.Choose(fmt::format("{}, {}", gpu_, what), accept, [&] {
    chosen = FindFastest(proposals);
    return chosen ? names[*chosen] : std::string();
  });
  return chosen;
}

std::optional<size_t> PlanTuner::FindFastest(const PlanProposals& proposals) {
  std::set<std::string> tried;
  std::optional<size_t> fastest;
  float least = 0;
  for (size_t i = 0; i < proposals.names.size() && tried.size() < kMostTried; ++i) {
    if (tried.contains(proposals.names[i]) || !proposals.build(i)) continue;
    tried.insert(proposals.names[i]);
    const std::optional<float> time = Time([&] { proposals.run(i); });
    if (!time || (fastest && *time >= least)) continue;
    fastest = i;
    least = *time;
  }
  return fastest;
}

std::optional<float> PlanTuner::Time(const std::function<void()>& run) {
  try {
    run();
    float least = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      THINWIRE_CUDA_CHECK(cudaEventRecord(start_, queue_.stream));
      for (int i = 0; i < kRuns; ++i) run();
      THINWIRE_CUDA_CHECK(cudaEventRecord(stop_, queue_.stream));
      THINWIRE_CUDA_CHECK(cudaEventSynchronize(stop_));
      float milliseconds = 0;
      THINWIRE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start_, stop_));
      least = trial == 0 ? milliseconds : std::min(least, milliseconds);
    }
    return least / kRuns;
  } catch (const OutOfMemory&) {
    return std::nullopt;  // others may need less
  }
}

}  // namespace thinwire::cuda
