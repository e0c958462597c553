// Timing of what is done again and again.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kernels/device.h"

namespace thinwire {

double Median(std::vector<double> values);

/// How long to repeat what is timed.
struct TimingOptions {
  double seconds = 0.5;  // in all, about
  int repetitions = 3;   // at least
};

/// Runs each work once, then all in turn until the time is over, waiting for the device after each;
/// the medians of their seconds. Work that takes less than milliseconds is repeated before the
/// wait.
std::vector<double> MedianSeconds(Device& device, std::span<const std::function<void()>> works,
                                  const TimingOptions& options);

}  // namespace thinwire
