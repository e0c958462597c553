#include "train/plot_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <tuple>

#include "kernels/error.h"
#include "kernels/text.h"
#include "train/atomic_file.h"
#include "train/settings_value.h"
#include "train/step_columns.h"
#include "train/svg_plot.h"

namespace thinwire {
namespace {

[[noreturn]] void Fail(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

struct PlotFlag {
  const char* name;
  const char* value;
  const char* help;
};

constexpr PlotFlag kFlags[] = {
    {"x", "NAMES", "step, bits, bits-up, seconds or another number of steps.jsonl [step]"},
    {"y", "NAMES", "grad_norm, loss or another number of steps.jsonl [grad_norm]"},
    {"x-scale", "SCALE", "linear, log or auto: log for runs of very different lengths [auto]"},
    {"y-scale", "SCALE", "linear, log or auto: log for values over two decades or more [auto]"},
    {"output", "PATH", "the drawing to write, FILE.svg"},
    {"csv", "PATH", "also write the drawn numbers there"},
    {"labels", "NAMES", "what the legend calls the runs, with commas [their folders]"},
    {"title", "TEXT", "what stands above"},
};

std::vector<std::string> CommaSeparated(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// The folder's own name; that of the folder around it for a file steps.jsonl.
std::string LabelOf(const std::string& run) {
  namespace fs = std::filesystem;
  fs::path path = fs::path(run).lexically_normal();
  if (path.filename() == "steps.jsonl") path = path.parent_path();
  if (!path.has_filename()) path = path.parent_path();
  return path.empty() ? run : path.filename().string();
}

std::vector<std::string> LabelsOf(const PlotOptions& options) {
  if (!options.labels.empty()) return options.labels;
  std::vector<std::string> labels;
  for (const std::string& run : options.runs) labels.push_back(LabelOf(run));
  const bool different = std::set(labels.begin(), labels.end()).size() == labels.size();
  return different ? labels : options.runs;
}

std::string AxisTitle(const std::string& name) {
  static const std::map<std::string, std::string> titles = {
      {"step", "step"},
      {"bits", "bits a worker, up and down"},
      {"bits_up", "bits a worker, up"},
      {"bits_down", "bits a worker, down"},
      {"grad_norm", "gradient norm"},
      {"lr", "learning rate"},
  };
  std::string key = name;
  std::replace(key.begin(), key.end(), '-', '_');
  if (const auto found = titles.find(key); found != titles.end()) return found->second;
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

/// Whether all values are at least 0 and the positive ones span two decades.
bool WantsLogY(const PlotPanel& panel) {
  double least = std::numeric_limits<double>::infinity(), largest = 0;
  for (const PlotSeries& series : panel.series) {
    for (const double y : series.y) {
      if (y < 0) return false;
      if (y > 0 && std::isfinite(y)) {
        least = std::min(least, y);
        largest = std::max(largest, y);
      }
    }
  }
  return largest >= 100 * least;
}

/// Whether one series ends eight times as far as another.
bool WantsLogX(const PlotPanel& panel) {
  double nearest = std::numeric_limits<double>::infinity(), farthest = 0;
  for (const PlotSeries& series : panel.series) {
    double end = 0;
    for (const double x : series.x) {
      if (x < 0) return false;
      if (std::isfinite(x)) end = std::max(end, x);
    }
    if (end == 0) continue;
    nearest = std::min(nearest, end);
    farthest = std::max(farthest, end);
  }
  return farthest >= 8 * nearest;
}

std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

void WriteText(const std::string& path, const std::string& text) {
  WriteFileAtomically(path, std::as_bytes(std::span(text)));
}

/// Says what is wrong with a flag that there is not.
[[noreturn]] void FailUnknown(const std::string& argument) {
  std::vector<std::string> known = {"help"};
  for (const PlotFlag& flag : kFlags) known.push_back(flag.name);
  const std::string flag = argument.substr(0, argument.find('='));
  const std::string name = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  const std::string nearest = name.size() > 2 ? NearestName(name, known) : "";
  Fail(fmt::format("thinwire plot has no flag {}", Quoted(flag)),
       nearest.empty() ? "see thinwire plot --help" : fmt::format("did you mean --{}?", nearest));
}

}  // namespace

PlotOptions ParsePlotArguments(const std::vector<std::string>& arguments) {
  PlotOptions options;
  std::map<std::string, std::string> values;
  CLI::App parser;
  parser.set_help_flag();
  parser.allow_extras();
  parser.add_option("runs", options.runs);
  for (const PlotFlag& flag : kFlags) {
    parser.add_option(fmt::format("--{}", flag.name), values[flag.name])
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants it
  for (std::string& argument : reversed) {
    if (!argument.starts_with("--")) continue;
    const auto name_end = argument.begin() + std::min(argument.find('='), argument.size());
    std::replace(argument.begin() + 2, name_end, '_', '-');
  }
  try {
    parser.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    Fail(fmt::format("thinwire plot: {}", error.what()), "see thinwire plot --help");
  }
  if (const auto rest = parser.remaining(); !rest.empty()) FailUnknown(rest.front());

  if (options.runs.empty()) {
    Fail("thinwire plot has no run to draw", "name the folders of runs");
  }
  for (const auto& [name, text, list] : {std::tuple("x", &values["x"], &options.x),
                                         {"y", &values["y"], &options.y},
                                         {"labels", &values["labels"], &options.labels}}) {
    if (text->empty()) continue;
    *list = CommaSeparated(*text);
    if (std::count(list->begin(), list->end(), "") > 0) {
      Fail(fmt::format("--{} {} has an empty name", name, Quoted(*text)),
           "give names with commas between them");
    }
  }
  for (const auto& [name, scale] :
       {std::pair("x-scale", &options.x_scale), {"y-scale", &options.y_scale}}) {
    if (values[name].empty()) continue;
    *scale = values[name];
    const std::vector<std::string> known = {"auto", "linear", "log"};
    if (std::count(known.begin(), known.end(), *scale) == 0) {
      Fail(fmt::format("--{} cannot be {}", name, Quoted(*scale)), SuggestName(*scale, known));
    }
  }
  options.output = values["output"];
  options.csv = values["csv"];
  options.title = values["title"];
  if (!options.output.ends_with(".svg")) {
    Fail(options.output.empty()
             ? std::string("thinwire plot needs a file to write")
             : fmt::format("thinwire plot draws SVG, and cannot write {}", Quoted(options.output)),
         "name it with --output FILE.svg");
  }
  if (!options.labels.empty() && options.labels.size() != options.runs.size()) {
    Fail(fmt::format("--labels has {} names for {} runs", options.labels.size(),
                     options.runs.size()),
         "give one a run");
  }
  return options;
}

std::string PlotFlagsHelp() {
  std::string text = "\nPlot\n";
  for (const PlotFlag& flag : kFlags) {
    text +=
        fmt::format("{:<32}{}\n", fmt::format("      --{} {}", flag.name, flag.value), flag.help);
  }
  return text;
}

void PlotRuns(const PlotOptions& options) {
  const std::vector<std::string> labels = LabelsOf(options);
  std::vector<std::string> names = options.x;
  names.insert(names.end(), options.y.begin(), options.y.end());
  std::string csv = "run";
  for (const std::string& name : names) csv += "," + CsvCell(name);
  csv += "\n";

  Plot plot{.title = options.title, .panels = {}, .columns = options.x.size()};
  for (const std::string& y : options.y) {
    for (const std::string& x : options.x) {
      plot.panels.push_back({.x_title = AxisTitle(x), .y_title = AxisTitle(y), .series = {}});
    }
  }
  for (size_t run = 0; run < options.runs.size(); ++run) {
    const StepColumns columns = ReadStepColumns(options.runs[run]);
    std::vector<std::vector<double>> values;
    for (const std::string& name : names) {
      values.push_back(Coordinate(columns, name, options.runs[run]));
    }
    for (size_t panel = 0; panel < plot.panels.size(); ++panel) {
      const size_t x = panel % options.x.size(), y = panel / options.x.size();
      plot.panels[panel].series.push_back(
          {.label = labels[run], .x = values[x], .y = values[options.x.size() + y]});
    }
    for (size_t step = 0; step < values[0].size(); ++step) {
      csv += CsvCell(labels[run]);
      for (const std::vector<double>& column : values) {
        csv += std::isnan(column[step]) ? std::string(",") : fmt::format(",{}", column[step]);
      }
      csv += "\n";
    }
  }
  for (PlotPanel& panel : plot.panels) {
    panel.log_x = options.x_scale == "log" || (options.x_scale == "auto" && WantsLogX(panel));
    panel.log_y = options.y_scale == "log" || (options.y_scale == "auto" && WantsLogY(panel));
  }
  const std::string svg = DrawSvg(plot);
  if (!options.csv.empty()) WriteText(options.csv, csv);
  WriteText(options.output, svg);
}

}  // namespace thinwire
