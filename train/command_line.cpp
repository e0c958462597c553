#include "train/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "kernels/error.h"
#include "kernels/text.h"
#include "train/commands_table.h"
#include "train/settings_value.h"

namespace thinwire {
namespace {

[[noreturn]] void Fail(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

/// What a command's flags were set to, as text.
struct Parsed {
  bool help = false;
  std::string config;
  std::string positional;
  std::vector<std::pair<std::string, std::string>> flags;
  BenchOptions bench;
};

std::string LongFlag(const SettingEntry& entry) { return std::string("--") + entry.name; }

/// The switch that this argument names, or null.
const SettingEntry* SwitchOf(const std::string& argument) {
  if (!argument.starts_with("--")) return nullptr;
  const SettingEntry* entry = FindSetting(std::string_view(argument).substr(2));
  return entry != nullptr && entry->is_switch() ? entry : nullptr;
}

/// Whether `argument`, right behind a switch, is the switch's value.
bool IsSwitchValue(const std::string& argument, const CommandEntry& command) {
  static const std::vector<std::string> kValues = {"on", "off", "true", "false", "auto"};
  if (std::find(kValues.begin(), kValues.end(), argument) != kValues.end()) return true;
  // Where no other word can stand, a misspelt one is meant for the switch.
  return command.positional[0] == '\0' && !argument.starts_with('-');
}

/// Rewrites what CLI11 has no word for: --batch_size is --batch-size, and a switch may stand alone
/// or with on, off or auto behind it (--json, --flip off), which becomes --flip=off.
std::vector<std::string> Normalized(const CommandEntry& command,
                                    const std::vector<std::string>& arguments) {
  std::vector<std::string> result;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string argument = arguments[i];
    if (argument.starts_with("--")) {
      const auto name_end = argument.begin() + std::min(argument.find('='), argument.size());
      std::replace(argument.begin(), name_end, '_', '-');
    }
    if (SwitchOf(argument) != nullptr) {
      const bool has_value = i + 1 < arguments.size() && IsSwitchValue(arguments[i + 1], command);
      argument += "=" + (has_value ? arguments[++i] : "on");
    }
    result.push_back(argument);
  }
  return result;
}

/// The flags that `command` understands: all that its help lists.
std::unique_ptr<CLI::App> MakeParser(const CommandEntry& command, Parsed& parsed) {
  auto parser = std::make_unique<CLI::App>();
  parser->set_help_flag();
  parser->add_flag("-h,--help", parsed.help);
  if (command.takes_recipe) {
    parser->add_option("--config", parsed.config)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  if (command.positional[0] != '\0') parser->add_option("positional", parsed.positional);
  for (const SettingEntry& entry : SettingEntries()) {
    if (!entry.belongs_to(command.command)) continue;
    std::string names = LongFlag(entry);
    if (entry.short_flag != 0) names += fmt::format(",-{}", entry.short_flag);
    parser
        ->add_option_function<std::string>(
            names, [&](const std::string& text) { parsed.flags.emplace_back(entry.name, text); })
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  if (command.command == Command::kBench) {
    parser
        ->add_option_function<std::string>(
            "--seconds",
            [&](const std::string& text) { parsed.bench.seconds = ParseBenchSeconds(text); })
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    parser->add_flag("--quick", parsed.bench.quick);
  }
  parser->allow_extras();
  return parser;
}

/// Says what is wrong with an argument that no flag took.
[[noreturn]] void FailUnknown(const CommandEntry& command, const std::string& argument) {
  if (!argument.starts_with("-") || argument == "-") {
    Fail(
        fmt::format("thinwire {} does not know what to do with {}", command.name, Quoted(argument)),
        fmt::format("see thinwire {} --help", command.name));
  }
  const std::string flag = argument.substr(0, argument.find('='));
  const std::string name = flag.substr(std::min(flag.find_first_not_of('-'), flag.size()));
  if (const SettingEntry* other = FindSetting(name)) {
    std::vector<std::string> homes;
    for (const CommandEntry& candidate : Commands()) {
      if (other->belongs_to(candidate.command)) homes.push_back(candidate.name);
    }
    Fail(fmt::format("thinwire {} has no flag {}", command.name, flag),
         fmt::format("it belongs to thinwire {}", fmt::join(homes, ", ")));
  }
  std::vector<std::string> known = {"help"};
  if (command.takes_recipe) known.push_back("config");
  for (const SettingEntry& entry : SettingEntries()) {
    if (entry.belongs_to(command.command)) known.push_back(entry.name);
  }
  if (command.command == Command::kBench) known.insert(known.end(), {"seconds", "quick"});
  // A letter or two are near to every short name.
  const std::string nearest = name.size() > 2 ? NearestName(name, known) : "";
  Fail(fmt::format("thinwire {} has no flag {}", command.name, Quoted(flag)),
       nearest.empty() ? fmt::format("see thinwire {} --help", command.name)
                       : fmt::format("did you mean --{}?", nearest));
}

Parsed ParseFlags(const CommandEntry& command, const std::vector<std::string>& arguments) {
  Parsed parsed;
  const std::unique_ptr<CLI::App> parser = MakeParser(command, parsed);
  std::vector<std::string> reversed = Normalized(command, arguments);
  std::reverse(reversed.begin(), reversed.end());  // as CLI11 wants it
  try {
    parser->parse(std::move(reversed));
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string message = error.what();  // "--lr: 1 required TEXT missing"
    const std::string flag = message.substr(0, message.find(':'));
    const SettingEntry* entry = FindSetting(flag.substr(std::min<size_t>(flag.size(), 2)));
    Fail(fmt::format("thinwire {}: {} has no value", command.name, flag),
         entry != nullptr ? "give " + Expectation(*entry) : "give one behind it");
  } catch (const CLI::ParseError& error) {
    Fail(fmt::format("thinwire {}: {}", command.name, error.what()),
         fmt::format("see thinwire {} --help", command.name));
  }
  const std::vector<std::string> rest = parser->remaining();
  if (!rest.empty() && !parsed.help) FailUnknown(command, rest.front());
  return parsed;
}

}  // namespace

CommandLine ParseCommandLine(const std::vector<std::string>& arguments) {
  CommandLine command_line;
  const auto command_named = [](const std::string& name) {
    if (const CommandEntry* entry = FindCommand(name)) return entry;
    std::vector<std::string> known = {"help", "version"};
    for (const CommandEntry& entry : Commands()) known.push_back(entry.name);
    Fail(fmt::format("unknown command {}", Quoted(name)), SuggestName(name, known));
  };
  const std::string first = arguments.empty() ? "help" : arguments.front();
  if (first == "--version" || first == "version" || first == "-V") {
    command_line.command = Command::kVersion;
    command_line.text = VersionText();
    return command_line;
  }
  if (first == "help" || first == "--help" || first == "-h") {
    // "thinwire help train" is "thinwire train --help".
    const bool topic = arguments.size() > 1;
    command_line.text = HelpText(topic ? command_named(arguments[1])->command : Command::kHelp);
    return command_line;
  }

  const CommandEntry* command = command_named(first);
  if (command->command == Command::kPlot || command->command == Command::kPrepare) {
    const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    const auto asks = [](const std::string& word) { return word == "--help" || word == "-h"; };
    if (std::any_of(rest.begin(), rest.end(), asks)) {
      command_line.text = HelpText(command->command);
      return command_line;
    }
    if (command->command == Command::kPlot) {
      command_line.plot = ParsePlotArguments(rest);
    } else {
      command_line.prepare = ParsePrepareArguments(rest);
    }
    command_line.command = command->command;
    return command_line;
  }
  Parsed parsed = ParseFlags(*command, {arguments.begin() + 1, arguments.end()});
  if (parsed.help) {
    command_line.text = HelpText(command->command);
    return command_line;
  }
  command_line.command = command->command;
  command_line.positional = std::move(parsed.positional);
  command_line.bench = std::move(parsed.bench);
  command_line.bench.subject = command_line.positional;
  command_line.flags = std::move(parsed.flags);
  command_line.recipe = std::move(parsed.config);
  if (!command_line.recipe.empty()) {
    ApplyRecipeFile(command_line.recipe, command_line.settings, &command_line.sources);
  }
  ApplyFlags(command_line, command_line.settings, command_line.sources);
  return command_line;
}

void ApplyFlags(const CommandLine& command_line, Settings& settings, SettingSources& sources) {
  for (const auto& [name, text] : command_line.flags) {
    const SettingEntry& entry = *FindSetting(name);
    SetFromText(entry, text, LongFlag(entry), settings);
    sources[name] = LongFlag(entry);
  }
}

}  // namespace thinwire
