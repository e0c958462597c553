// Learning rates as pure functions of the step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace thinwire {

struct ScheduleOptions {
  std::string name = "constant";  // constant step multistep cosine onecycle polynomial
  double learning_rate = 0.1;     // the peak
  double min_learning_rate = 0;
  double decay_rate = 0.1;               // step, multistep
  int64_t decay_epochs = 30;             // step
  std::vector<int64_t> decay_milestones;  // multistep, epochs
  double power = 1.0;                    // polynomial
  double warmup_epochs = 0;              // linear from warmup_learning_rate
  double warmup_learning_rate = 0;
  double onecycle_warmup_fraction = 0.3;  // as PyTorch's OneCycleLR: pct_start, div_factor, …
  double onecycle_initial_divisor = 25;
  double onecycle_final_divisor = 1e4;
};

/// The rate of step `step` (counted from 0). Epoch-based schedules change at epoch boundaries;
/// cosine, onecycle, polynomial and warm-up change every step.
/// @throws Error (usage) for an unknown name or settings out of range.
double LearningRate(const ScheduleOptions& options, int64_t step, int64_t steps_per_epoch,
                    int64_t total_steps);

std::vector<std::string> ScheduleNames();

}  // namespace thinwire
