// What steps.jsonl says about a run's course, by name.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace thinwire {

/// A number for each logged step; NaN where a step has none.
using StepColumns = std::map<std::string, std::vector<double>>;

/// Reads the steps.jsonl of a run's folder, or such a file itself, of at most 1 GiB. A last line
/// without an end, which a running program may be writing, is passed over.
/// @throws Error naming the file and the line that is no JSON object, or if there is no step.
StepColumns ReadStepColumns(const std::string& run);

/// One coordinate of a plot: a column's name, with dashes or underscores, or "bits" (the sum of
/// paper_bits_up and paper_bits_down), "bits-up" or "bits-down".
/// @param run For messages.
/// @throws Error (usage) if the run has no such column, with the names of those that it has.
std::vector<double> Coordinate(const StepColumns& columns, const std::string& name,
                               const std::string& run);

}  // namespace thinwire
