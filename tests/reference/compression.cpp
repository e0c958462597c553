#include "tests/reference/compression.h"

#include <algorithm>
#include <cmath>

namespace thinwire::reference {
namespace {

double Sign(double v) { return v >= 0 ? 1 : -1; }

}  // namespace

std::vector<double> Evaluate(const Input& input) {
  std::vector<double> result;
  for (size_t i = 0; i < input.values.size(); ++i) {
    double value = input.gradient_scale * input.values[i];
    if (!input.parameters.empty() && static_cast<int64_t>(i) < input.decayed_size) {
      value += input.weight_decay * input.parameters[i];
    }
    value *= input.factor;
    if (!input.added.empty()) value += input.added_factor * input.added[i];
    result.push_back(value);
  }
  return result;
}

std::vector<int64_t> Groups(const SignShape& shape) {
  std::vector<int64_t> groups(static_cast<size_t>(shape.size), -1);
  for (const ScaleRun& run : shape.runs) {
    for (int64_t i = run.range.begin; i < run.range.end; ++i) {
      groups[static_cast<size_t>(i)] = run.group;
    }
  }
  return groups;
}

std::vector<int32_t> Signs(const SignShape& shape, const std::vector<double>& v) {
  std::vector<uint32_t> words(static_cast<size_t>(shape.words()));
  const auto groups = Groups(shape);
  for (size_t i = 0; i < v.size(); ++i) {
    if (groups[i] >= 0 && v[i] >= 0) words[i / 32] |= uint32_t{1} << (i % 32);
  }
  return {words.begin(), words.end()};
}

std::vector<double> Sums(const SignShape& shape, const std::vector<double>& v) {
  std::vector<double> sums(shape.group_sizes.size());
  const auto groups = Groups(shape);
  for (size_t i = 0; i < v.size(); ++i) {
    if (groups[i] < 0) continue;
    const bool squares = shape.scale == SignShape::Scale::kRootMeanSquare;
    sums[static_cast<size_t>(groups[i])] += squares ? v[i] * v[i] : std::abs(v[i]);
  }
  return sums;
}

std::vector<double> Scales(const SignShape& shape, const std::vector<double>& sums) {
  std::vector<double> scales;
  for (size_t group = 0; group < sums.size(); ++group) {
    const double mean = sums[group] / static_cast<double>(shape.group_sizes[group]);
    const bool squares = shape.scale == SignShape::Scale::kRootMeanSquare;
    scales.push_back(squares ? std::sqrt(mean) : mean);
  }
  return scales;
}

std::vector<double> Decode(const SignShape& shape, const Message& message) {
  const auto groups = Groups(shape);
  std::vector<double> result(groups.size());
  for (size_t i = 0; i < result.size(); ++i) {
    if (groups[i] < 0) continue;
    const bool positive = (static_cast<uint32_t>(message.bits[i / 32]) >> (i % 32) & 1) != 0;
    const double scale = message.scales[static_cast<size_t>(groups[i])];
    result[i] = positive ? scale : -scale;
  }
  return result;
}

std::vector<double> Mean(const SignShape& shape, const std::vector<Message>& messages) {
  std::vector<double> result(static_cast<size_t>(shape.size));
  for (const Message& message : messages) {
    const auto decoded = Decode(shape, message);
    for (size_t i = 0; i < result.size(); ++i) result[i] += decoded[i];
  }
  for (double& value : result) value /= static_cast<double>(messages.size());
  return result;
}

std::vector<double> Settle(const SignShape& shape, const std::vector<double>& scales,
                           const std::vector<double>& error) {
  const auto groups = Groups(shape);
  std::vector<double> result(error.size());
  for (size_t i = 0; i < result.size(); ++i) {
    if (groups[i] < 0) continue;
    result[i] = error[i] - scales[static_cast<size_t>(groups[i])] * Sign(error[i]);
  }
  return result;
}

Selection SelectTopK(const TopKShape& shape, const std::vector<double>& v) {
  std::vector<int32_t> order;
  for (const Range& range : shape.ranges) {
    for (int64_t i = range.begin; i < range.end; ++i) order.push_back(static_cast<int32_t>(i));
  }
  // NaN before everything; equals stay in the order of their indices.
  std::stable_sort(order.begin(), order.end(), [&](int32_t i, int32_t j) {
    const double a = std::abs(v[static_cast<size_t>(i)]), b = std::abs(v[static_cast<size_t>(j)]);
    return std::isnan(a) ? !std::isnan(b) : a > b;
  });
  order.resize(static_cast<size_t>(shape.k));
  std::sort(order.begin(), order.end());
  Selection selection{order, {}};
  for (const int32_t i : order) selection.values.push_back(v[static_cast<size_t>(i)]);
  return selection;
}

}  // namespace thinwire::reference
