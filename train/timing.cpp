#include "train/timing.h"

#include <algorithm>
#include <cmath>

#include "comm/failure.h"

namespace thinwire {

double Median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<double> MedianSeconds(Device& device, std::span<const std::function<void()>> works,
                                  const TimingOptions& options) {
  // The wait, and what the host does before a GPU has something to do, count little then.
  constexpr double kLeast = 5e-3;
  const auto seconds_of = [&](const std::function<void()>& work, int times) {
    device.Synchronize();
    const double start = MonotonicSeconds();
    for (int i = 0; i < times; ++i) work();
    device.Synchronize();
    return (MonotonicSeconds() - start) / times;
  };
  std::vector<int> times;
  for (const auto& work : works) {
    work();
    const double least = std::min(kLeast, options.seconds / 4);
    const double once = std::max(1e-9, seconds_of(work, 1));
    times.push_back(std::clamp(static_cast<int>(std::ceil(least / once)), 1, 1000));
  }
  std::vector<std::vector<double>> samples(works.size());
  const double end = MonotonicSeconds() + options.seconds;
  for (int i = 0; i < options.repetitions || MonotonicSeconds() < end; ++i) {
    for (size_t w = 0; w < works.size(); ++w) {
      samples[w].push_back(seconds_of(works[w], times[w]));
    }
  }
  std::vector<double> medians;
  for (std::vector<double>& sample : samples) medians.push_back(Median(std::move(sample)));
  return medians;
}

}  // namespace thinwire
