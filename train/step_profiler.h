// Which of a run's steps a profiler records.
#pragma once

#include <cstdint>
#include <string>

#include "train/ranks.h"

namespace thinwire {

/// Steps [first, first + count), counted from 1.
struct ProfiledSteps {
  int64_t first = 0, count = 0;

  bool contains(int64_t step) const { return step >= first && step - first < count; }
};

/// Reads START:COUNT; an empty text is no step. @throws Error (usage).
ProfiledSteps ParseProfiledSteps(const std::string& text);

/// Gives a profiler that waits for it its cue around the steps of --profile. Recording is a whole
/// process's: of ranks that are threads, only the first does it.
class StepProfiler {
 public:
  /// @param steps As ParseProfiledSteps.
  StepProfiler(const std::string& steps, const Rank& rank);

  void BeforeStep(int64_t step);
  void AfterStep(int64_t step);

 private:
  ProfiledSteps steps_;
  Device& device_;
  bool recording_ = false;
};

}  // namespace thinwire
