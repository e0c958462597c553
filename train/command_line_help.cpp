// Help texts, made from the schema.
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "train/command_line.h"
#include "train/commands_table.h"
#include "train/plot_command.h"
#include "train/prepare_command.h"
#include "train/settings_value.h"

#ifndef THINWIRE_VERSION
#define THINWIRE_VERSION "0.1.0"
#endif

namespace thinwire {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kFlagWidth = 32;  // "  -b, --batch-size N             "

/// Breaks `text` at spaces; lines after the first are indented. `column` is where the text starts.
std::string Wrapped(std::string_view text, size_t column) {
  std::string result;
  size_t used = column;
  while (!text.empty()) {
    const size_t length = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, length);
    if (used > column && used + 1 + word.size() > kWidth) {
      result += "\n" + std::string(column, ' ');
      used = column;
    }
    if (used > column) {
      result += ' ';
      ++used;
    }
    result += word;
    used += word.size();
    text.remove_prefix(std::min(length + 1, text.size()));
  }
  return result + "\n";
}

std::string Line(const std::string& flag, const std::string& help) {
  // A flag that reaches into the help's column has its help on the next line.
  const std::string gap = flag.size() + 2 > kFlagWidth ? "\n" + std::string(kFlagWidth, ' ')
                                                       : std::string(kFlagWidth - flag.size(), ' ');
  return flag + gap + Wrapped(help, kFlagWidth);
}

std::string SettingLine(const SettingEntry& entry) {
  const std::string short_flag =
      entry.short_flag != 0 ? fmt::format("-{}, ", entry.short_flag) : "    ";
  std::string help = entry.help;
  if (entry.choices != nullptr) help += fmt::format(" ({})", Expectation(entry));
  const std::string value = ValueAsText(entry, Settings{});
  if (!value.empty()) help += fmt::format(" [{}]", value);
  return Line(fmt::format("  {}--{} {}", short_flag, entry.name, entry.value), help);
}

std::string Overview() {
  std::string text =
      "thinwire trains image classifiers.\n\nUsage: thinwire COMMAND [FLAGS]\n\nCommands\n";
  for (const CommandEntry& command : Commands()) {
    text += Line(fmt::format("  {} {}", command.name, command.positional), command.summary);
  }
  text += Line("  help COMMAND", "all flags of a command, as COMMAND --help");
  text += Line("  version", "the program's version");
  text += "\n`thinwire train` alone trains a small network on images that it draws itself.\n";
  return text;
}

std::string CommandHelp(const CommandEntry& command) {
  std::string usage = fmt::format("Usage: thinwire {}", command.name);
  if (command.positional[0] != '\0') usage += fmt::format(" [{}]", command.positional);
  std::string text = usage + " [FLAGS]\n\n" + Wrapped(command.details, 0);
  const char* section = "";
  for (const SettingEntry& entry : SettingEntries()) {
    if (!entry.belongs_to(command.command)) continue;
    if (std::string_view(section) != entry.section) {
      text += fmt::format("\n{}\n", entry.section);
      section = entry.section;
    }
    text += SettingLine(entry);
  }
  if (command.command == Command::kPlot) text += PlotFlagsHelp();
  if (command.command == Command::kPrepare) text += PrepareFlagsHelp();
  if (command.command == Command::kBench) text += BenchFlagsHelp();
  text += "\nOther\n";
  if (command.takes_recipe) {
    text += Line("      --config PATH", "recipe: a TOML file of settings, under the flags");
  }
  text += Line("  -h, --help", "this text");
  return text;
}

}  // namespace

const std::vector<CommandEntry>& Commands() {
  static const std::vector<CommandEntry> commands = {
      {Command::kTrain, "train", "", true, "train a model",
       "Trains a model and leaves settings, metrics, checkpoints and weights in the run's folder. "
       "Settings are the defaults in brackets, under those of a recipe, under those of flags."},
      {Command::kEval, "eval", "CHECKPOINT", true, "evaluate a checkpoint or weights",
       "Evaluates a checkpoint, a run's folder (its best checkpoint), or --weights on the test "
       "images. Settings are those of the checkpoint, under those of flags."},
      {Command::kInfo, "info", "MODEL", true, "describe a model or a data set",
       "Describes a model: its layers, parameters and memory. With --dataset instead of a name, "
       "counts a data set's images and classes, and the files that cannot be read. Without either, "
       "lists the models."},
      {Command::kExport, "export", "CHECKPOINT", false, "write a checkpoint's weights",
       "Writes the weights of a checkpoint, or of a run's folder (its best checkpoint), as a "
       "safetensors file with PyTorch's names and layouts."},
      {Command::kPlot, "plot", "RUN...", false, "draw the course of runs",
       "Draws what runs logged (each RUN is a folder, or its steps.jsonl) as line charts in an SVG "
       "file: a panel for each pair of coordinates, a line for each run."},
      {Command::kPrepare, "prepare", "DATASET FOLDER FILE", false, "pack a data set into one file",
       "Packs a data set from its folder into one file with an index and checksums, for --dataset "
       "packed --data-dir FILE: imagenet, which is any folder that --dataset image-folder reads, "
       "cifar10, cifar100 or mnist. If it is killed, the same call goes on, and the file becomes "
       "the same."},
      {Command::kBench, "bench", "kernels|step|comm", true, "measure kernels, steps or collectives",
       "Measures this machine's kernels against a copy of its memory and its fastest matrix "
       "product, "
       "a training step of a model with an optimizer, or collectives among ranks."},
  };
  return commands;
}

const CommandEntry* FindCommand(const std::string& name) {
  for (const CommandEntry& command : Commands()) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

std::string HelpText(Command command) {
  for (const CommandEntry& entry : Commands()) {
    if (entry.command == command) return CommandHelp(entry);
  }
  return Overview();
}

std::string VersionText() { return "thinwire " THINWIRE_VERSION "\n"; }

}  // namespace thinwire
