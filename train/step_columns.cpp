#include "train/step_columns.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

StepColumns ReadStepColumns(const std::string& run) {
  constexpr int64_t kMaxBytes = int64_t{1} << 30;
  const std::string path = std::filesystem::is_directory(run) ? run + "/steps.jsonl" : run;
  const std::vector<std::byte> bytes = ReadFile(path, kMaxBytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  StepColumns columns;
  size_t steps = 0;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    const auto json = nlohmann::json::parse(text.substr(begin, end - begin), nullptr,
                                            /*allow_exceptions=*/false);
    if (!json.is_object()) {
      throw Error(fmt::format("cannot read {}: line {} is not a JSON object", path, steps + 1),
                  "name a run's folder, or its steps.jsonl");
    }
    for (const auto& [name, value] : json.items()) {
      if (!value.is_number() && !value.is_null()) continue;
      std::vector<double>& column = columns[name];
      column.resize(steps, kNaN);
      column.push_back(value.is_number() ? value.get<double>() : kNaN);
    }
    ++steps;
  }
  if (steps == 0) {
    throw Error(fmt::format("{} has logged no step yet", path), "wait for the run's first steps");
  }
  for (auto& [name, column] : columns) column.resize(steps, kNaN);
  return columns;
}

std::vector<double> Coordinate(const StepColumns& columns, const std::string& name,
                               const std::string& run) {
  std::string key = name;
  std::replace(key.begin(), key.end(), '-', '_');
  if (key == "bits") {
    std::vector<double> sum = Coordinate(columns, "bits_up", run);
    const std::vector<double> down = Coordinate(columns, "bits_down", run);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += down[i];
    return sum;
  }
  if (key == "bits_up" || key == "bits_down") key = "paper_" + key;
  const auto found = columns.find(key);
  if (found == columns.end()) {
    std::vector<std::string> names;
    for (const auto& [known, values] : columns) names.push_back(known);
    throw Error(fmt::format("the steps of {} have no {}", run, key),
                fmt::format("they have {}", fmt::join(names, ", ")), Error::Kind::kUsage);
  }
  return found->second;
}

}  // namespace thinwire
