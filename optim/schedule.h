// Learning rates as pure functions of the step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace thinwire {

struct ScheduleOptions {
  std::string name = "constant";               // one of ScheduleNames()
  double learning_rate = 0.1;                  // the peak
  double min_learning_rate = 0;                // where cosine and polynomial end
  double decay_rate = 0.1;                     // step, multistep
  int64_t decay_epochs = 30;                   // step
  std::vector<int64_t> decay_milestones = {};  // multistep, in epochs, rising
  double power = 1.0;                          // polynomial
  double warmup_epochs = 0;                    // all but onecycle, which has a warm-up of its own
  double warmup_learning_rate = 0;             // where the warm-up starts
  double onecycle_warmup_fraction = 0.3;       // PyTorch's pct_start
  double onecycle_initial_divisor = 25;        // PyTorch's div_factor
  double onecycle_final_divisor = 1e4;         // PyTorch's final_div_factor
};

/// The rate of step `step` of `total_steps`, counted from 0, with r the peak, m the minimum.
///
/// The first W = round(warmup_epochs * steps_per_epoch) steps rise in a line from
/// warmup_learning_rate at step 0 to r at step W: w + (r - w) step / W. From step W on:
///   constant    r
///   step        r * decay_rate^floor(epoch / decay_epochs)
///   multistep   r * decay_rate^(milestones <= epoch)
///   cosine      m + (r - m) (1 + cos(pi t / T)) / 2   (PyTorch's CosineAnnealingLR, T_max = T)
///   polynomial  m + (r - m) (1 - t / T)^power         (PyTorch's PolynomialLR if m = 0)
///   onecycle    PyTorch's OneCycleLR with cosine annealing, stepped every batch
/// `epoch` = floor(step / steps_per_epoch) counts the whole run, so milestones mean what a paper
/// says whether there is a warm-up or not; t = step - W and T = total_steps - W run over the steps
/// that the warm-up leaves. Steps from total_steps on keep the last step's rate.
///
/// @pre steps_per_epoch and total_steps are positive.
/// @throws Error (usage) for an unknown name or settings out of range.
double LearningRate(const ScheduleOptions& options, int64_t step, int64_t steps_per_epoch,
                    int64_t total_steps);

/// constant step multistep cosine polynomial onecycle.
std::vector<std::string> ScheduleNames();

}  // namespace thinwire
