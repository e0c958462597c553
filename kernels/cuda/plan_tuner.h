// The choice among a library's plans by trying them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/queue.h"
#include "kernels/plan_cache.h"

namespace thinwire::cuda {

/// What a library proposes for one piece of work, its best guess first.
struct PlanProposals {
  std::vector<std::string> names;     // the same for the same plan in every run
  std::function<bool(size_t)> build;  // whether a plan can be used, numerics included
  std::function<void(size_t)> run;    // enqueues it once, on operands of its own
};

/// Times plans on one GPU, each kind of work once: choices are kept in a PlanCache, and hold for
/// GPUs of the same name and size.
class PlanTuner {
 public:
  /// @param cache_file As PlanCache's.
  PlanTuner(Device& device, const Queue& queue, std::string gpu, std::string cache_file);
  ~PlanTuner();
  PlanTuner(const PlanTuner&) = delete;
  PlanTuner& operator=(const PlanTuner&) = delete;

  /// Where operands for trials come from.
  Device& device() const { return device_; }

  /// The number of the fastest plan, which has been built; nothing if none could be tried, be it
  /// for want of memory.
  /// @param what The work with library and version, shapes and types: all that a choice depends on
  ///     besides the GPU.
  std::optional<size_t> Choose(const std::string& what, const PlanProposals& proposals);

 private:
  /// Milliseconds of one run; nothing if it fails.
  std::optional<float> Time(const std::function<void()>& run);
  std::optional<size_t> FindFastest(const PlanProposals& proposals);

  Device& device_;
  const Queue queue_;
  const std::string gpu_;
  PlanCache cache_;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace thinwire::cuda
