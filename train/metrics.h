// Metrics of a run as text: metrics.jsonl, a line a logging step, and summary.csv, a line an epoch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "train/append_file.h"

namespace thinwire {

using MetricValue = std::variant<int64_t, double, std::string>;

/// Named values in the order in which they are written: {{"step", 100}, {"loss", 1.25}}.
using MetricRecord = std::vector<std::pair<std::string, MetricValue>>;

/// A file of one JSON object a line. Each line is written whole, at once. Numbers read back as
/// the same float64; JSON has no NaN or infinity, so they become null.
class JsonLinesWriter {
 public:
  /// @param resumed_step Empty for a new run: an older file is emptied. Else the file goes on:
  ///     lines whose "step" is greater, which the resumed run will write again, and a last line
  ///     torn by a crash are removed.
  /// @throws Error with path and cause, also if the older file is something else.
  JsonLinesWriter(const std::string& path, std::optional<int64_t> resumed_step);

  /// @throws Error with path and cause, for example on a full disk.
  void Write(const MetricRecord& record);

 private:
  AppendFile file_;
};

/// A file of comma-separated values (RFC 4180, lines end in \n). The first record's names become
/// the header; its first column is the epoch.
class CsvWriter {
 public:
  /// @param resumed_epoch Empty for a new run: an older file is emptied. Else the file goes on:
  ///     lines whose first column is greater and a torn last line are removed.
  /// @throws Error with path and cause, also if the older file is something else.
  CsvWriter(const std::string& path, std::optional<int64_t> resumed_epoch);

  /// @throws Error with path and cause, also if the names are not those of the header.
  void Write(const MetricRecord& record);

 private:
  std::string header_;  // empty until a first record
  AppendFile file_;
};

}  // namespace thinwire
