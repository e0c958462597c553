// The command line: thinwire COMMAND [FLAGS].
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "train/bench_command.h"
#include "train/plot_command.h"
#include "train/prepare_command.h"
#include "train/settings.h"

namespace thinwire {

/// A command line that was understood.
struct CommandLine {
  Command command = Command::kHelp;
  /// kHelp and kVersion: what to print on standard output.
  std::string text;
  /// Defaults, under the recipe of --config, under the flags. Not yet validated: other settings
  /// may come below the flags (a checkpoint's).
  Settings settings;
  /// Where each setting that is not a default came from.
  SettingSources sources;
  /// info: the model; eval and export: a checkpoint, or a run's folder; bench: what to measure. May
  /// be empty.
  std::string positional;
  /// The path of --config, or empty.
  std::string recipe;
  /// The settings' flags alone (not --config), key and text in the order given.
  std::vector<std::pair<std::string, std::string>> flags;
  /// kPlot: all of its flags, none of which is a setting.
  PlotOptions plot;
  /// kPrepare: likewise.
  PrepareOptions prepare;
  /// kBench: what to measure, and how long.
  BenchOptions bench;
};

/// Reads `arguments` (without the program's name) and the recipe that --config names.
/// @throws Error (usage) naming the flag, its value and the nearest known flag or command.
CommandLine ParseCommandLine(const std::vector<std::string>& arguments);

/// Lays the flags of a command line over `settings`, and their sources over `sources`.
void ApplyFlags(const CommandLine& command_line, Settings& settings, SettingSources& sources);

/// The help text of a command, at most 100 columns wide; kHelp: the overview of all commands.
std::string HelpText(Command command);

/// "thinwire 0.1.0"
std::string VersionText();

}  // namespace thinwire
