#include "optim/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include "kernels/error.h"
#include "kernels/text.h"

namespace thinwire {
namespace {

/// A step's place in the run.
struct Place {
  int64_t epoch = 0;  // of the whole run
  int64_t step = 0;   // t, after the warm-up
  int64_t steps = 1;  // T, without the warm-up
  double progress() const { return static_cast<double>(step) / static_cast<double>(steps); }
};

/// From `start` to `end` along half a cosine, as `progress` goes from 0 to 1.
double CosineBetween(double start, double end, double progress) {
  return end + (start - end) / 2 * (1 + std::cos(std::numbers::pi * progress));
}

double Constant(const ScheduleOptions& options, const Place&) { return options.learning_rate; }

double Step(const ScheduleOptions& options, const Place& place) {
  return options.learning_rate *
         std::pow(options.decay_rate, static_cast<double>(place.epoch / options.decay_epochs));
}

double Multistep(const ScheduleOptions& options, const Place& place) {
  const auto passed =
      std::count_if(options.decay_milestones.begin(), options.decay_milestones.end(),
                    [&](int64_t epoch) { return epoch <= place.epoch; });
  return options.learning_rate * std::pow(options.decay_rate, static_cast<double>(passed));
}

double Cosine(const ScheduleOptions& options, const Place& place) {
  return CosineBetween(options.learning_rate, options.min_learning_rate, place.progress());
}

double Polynomial(const ScheduleOptions& options, const Place& place) {
  const double range = options.learning_rate - options.min_learning_rate;
  return options.min_learning_rate + range * std::pow(1 - place.progress(), options.power);
}

/// Up from initial to peak, then down to final. The turning point is where PyTorch has it, at step
/// fraction * steps - 1, which need not be whole; the last step has the final rate.
double OneCycle(const ScheduleOptions& options, const Place& place) {
  const double peak = options.learning_rate;
  const double initial = peak / options.onecycle_initial_divisor;
  const double final = initial / options.onecycle_final_divisor;
  const double step = static_cast<double>(place.step);
  const double turn = options.onecycle_warmup_fraction * static_cast<double>(place.steps) - 1;
  const double last = static_cast<double>(place.steps) - 1;
  if (step <= turn) return turn > 0 ? CosineBetween(initial, peak, step / turn) : peak;
  return CosineBetween(peak, final, (step - turn) / (last - turn));
}

struct Schedule {
  const char* name;
  double (*rate)(const ScheduleOptions&, const Place&);
};

constexpr Schedule kSchedules[] = {
    {"constant", Constant},     {"step", Step},
    {"multistep", Multistep},   {"cosine", Cosine},
    {"polynomial", Polynomial}, {"onecycle", OneCycle},
};

void Require(bool condition, const char* what, double value, const char* remedy) {
  if (condition) return;
  throw Error(fmt::format("learning-rate schedule: {} is {}", what, value), remedy,
              Error::Kind::kUsage);
}

/// The comparisons are written so that a NaN fails them.
void Check(const ScheduleOptions& options) {
  for (const auto& [what, value] : {std::pair{"lr", options.learning_rate},
                                    {"min-lr", options.min_learning_rate},
                                    {"decay-rate", options.decay_rate},
                                    {"poly-power", options.power},
                                    {"warmup-epochs", options.warmup_epochs},
                                    {"warmup-lr", options.warmup_learning_rate}}) {
    Require(value >= 0 && std::isfinite(value), what, value, "give 0 or a positive number");
  }
  Require(options.decay_epochs >= 1, "decay-epochs", static_cast<double>(options.decay_epochs),
          "give at least one epoch");
  Require(options.onecycle_warmup_fraction >= 0 && options.onecycle_warmup_fraction < 1,
          "onecycle's warm-up fraction", options.onecycle_warmup_fraction,
          "give a value in [0, 1)");
  Require(options.onecycle_initial_divisor >= 1, "onecycle's initial divisor",
          options.onecycle_initial_divisor, "give at least 1");
  Require(options.onecycle_final_divisor >= 1, "onecycle's final divisor",
          options.onecycle_final_divisor, "give at least 1");
  Require(options.name != "onecycle" || options.warmup_epochs == 0, "warmup-epochs",
          options.warmup_epochs, "give 0, since onecycle has a warm-up of its own");
}

}  // namespace

double LearningRate(const ScheduleOptions& options, int64_t step, int64_t steps_per_epoch,
                    int64_t total_steps) {
  assert(step >= 0 && steps_per_epoch > 0 && total_steps > 0);
  const auto* schedule =
      std::find_if(std::begin(kSchedules), std::end(kSchedules),
                   [&](const Schedule& candidate) { return options.name == candidate.name; });
  if (schedule == std::end(kSchedules)) {
    throw Error(fmt::format("unknown learning-rate schedule '{}'", options.name),
                SuggestName(options.name, ScheduleNames()), Error::Kind::kUsage);
  }
  Check(options);

  step = std::min(step, total_steps - 1);
  // A warm-up longer than the run is cut by the run, not by the rate: double, since it may be huge.
  const double warmup = std::round(options.warmup_epochs * static_cast<double>(steps_per_epoch));
  if (static_cast<double>(step) < warmup) {
    return options.warmup_learning_rate + (options.learning_rate - options.warmup_learning_rate) *
                                              static_cast<double>(step) / warmup;
  }
  const auto warmup_steps = static_cast<int64_t>(warmup);
  return schedule->rate(options, {.epoch = step / steps_per_epoch,
                                  .step = step - warmup_steps,
                                  .steps = total_steps - warmup_steps});
}

std::vector<std::string> ScheduleNames() {
  std::vector<std::string> names;
  for (const Schedule& schedule : kSchedules) names.push_back(schedule.name);
  return names;
}

}  // namespace thinwire
