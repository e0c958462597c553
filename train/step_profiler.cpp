#include "train/step_profiler.h"

#include <fmt/format.h>

#include <charconv>

#include "kernels/error.h"
#include "train/settings_value.h"

namespace thinwire {

ProfiledSteps ParseProfiledSteps(const std::string& text) {
  if (text.empty()) return {};
  ProfiledSteps steps;
  const char* const end = text.data() + text.size();
  const auto [colon, first_error] = std::from_chars(text.data(), end, steps.first);
  const bool has_colon = first_error == std::errc() && colon != end && *colon == ':';
  if (has_colon) {
    const auto [stop, error] = std::from_chars(colon + 1, end, steps.count);
    if (error == std::errc() && stop == end && steps.first >= 1 && steps.count >= 1) return steps;
  }
  throw Error(fmt::format("profile is {}", Quoted(text)),
              "give START:COUNT, steps counted from 1, as 100:10 for steps 100 to 109",
              Error::Kind::kUsage);
}

StepProfiler::StepProfiler(const std::string& steps, const Rank& rank) : device_(rank.device) {
  if (rank.first_of_process()) steps_ = ParseProfiledSteps(steps);
}

void StepProfiler::BeforeStep(int64_t step) {
  if (recording_ || !steps_.contains(step)) return;
  device_.SetProfiling(true);
  recording_ = true;
}

void StepProfiler::AfterStep(int64_t step) {
  if (!recording_ || steps_.contains(step + 1)) return;
  device_.SetProfiling(false);
  recording_ = false;
}

}  // namespace thinwire
