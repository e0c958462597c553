// thinwire plot: the course of runs as line charts.
#pragma once

#include <string>
#include <vector>

namespace thinwire {

struct PlotOptions {
  std::vector<std::string> runs;  // folders, or their steps.jsonl
  /// Coordinates; each pair of them is a panel.
  std::vector<std::string> x = {"step"}, y = {"grad_norm"};
  std::string x_scale = "auto", y_scale = "auto";  // auto, linear, log
  std::string output;                              // FILE.svg
  std::string csv;                                 // empty: none
  std::vector<std::string> labels;                 // one a run; empty: the folders' names
  std::string title;
};

/// Reads what stands behind "thinwire plot". @throws Error (usage) naming the flag and its value.
PlotOptions ParsePlotArguments(const std::vector<std::string>& arguments);

/// The flags, as a part of the command's help.
std::string PlotFlagsHelp();

/// Writes the drawing, and the drawn numbers as CSV (a line a run and step: the label, then each
/// coordinate; nothing stands for NaN). Either file appears whole or not at all.
/// @throws Error naming the run, the coordinate or the file.
void PlotRuns(const PlotOptions& options);

}  // namespace thinwire
