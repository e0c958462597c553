// Command lines that are understood, those that are not, and the help texts.
#include "train/command_line.h"

#include <gtest/gtest.h>

#include <sstream>

#include "kernels/error.h"
#include "tests/train/temporary_folder.h"
#include "tests/train/usage_error.h"

namespace thinwire {
namespace {

using Arguments = std::vector<std::string>;

void ExpectRefused(const Arguments& arguments, const std::vector<std::string>& parts) {
  std::string joined;
  for (const std::string& argument : arguments) joined += argument + " ";
  SCOPED_TRACE(joined);
  ExpectUsageError([&] { ParseCommandLine(arguments); }, parts);
}

TEST(CommandLineTest, TrainAloneHasDefaults) {
  const CommandLine command_line = ParseCommandLine({"train"});
  EXPECT_EQ(command_line.command, Command::kTrain);
  EXPECT_EQ(command_line.settings, Settings{});
  EXPECT_TRUE(command_line.sources.empty());
  EXPECT_TRUE(command_line.flags.empty());
  EXPECT_TRUE(command_line.positional.empty());
}

TEST(CommandLineTest, EveryFlagIsTaken) {
  Arguments arguments = {"train"};
  for (const SettingEntry& entry : SettingEntries()) {
    arguments.push_back(std::string("--") + entry.name);
    const std::string value = ValueAsText(entry, Settings{});
    // Settings that are empty by default are lists or text; 1 fits all that have no choices.
    const std::string any = entry.choices != nullptr ? entry.choices().front() : "1";
    arguments.push_back(value.empty() ? any : value);
  }
  EXPECT_EQ(ParseCommandLine(arguments).sources.size(), SettingEntries().size());
}

TEST(CommandLineTest, SpellingsOfFlags) {
  EXPECT_EQ(ParseCommandLine({"train", "--batch-size", "5"}).settings.batch_size, 5);
  EXPECT_EQ(ParseCommandLine({"train", "--batch-size=5"}).settings.batch_size, 5);
  EXPECT_EQ(ParseCommandLine({"train", "--batch_size=5"}).settings.batch_size, 5);
  EXPECT_EQ(ParseCommandLine({"train", "-b", "5"}).settings.batch_size, 5);
  EXPECT_EQ(ParseCommandLine({"train", "-b5"}).settings.batch_size, 5);
  EXPECT_EQ(ParseCommandLine({"train", "-j", "3"}).settings.data_threads, 3);
  EXPECT_EQ(ParseCommandLine({"train", "--output=a_b=c"}).settings.output, "a_b=c");
  EXPECT_EQ(ParseCommandLine({"train", "--output", "-x"}).settings.output, "-x");
  EXPECT_EQ(ParseCommandLine({"train", "--output", "[a,b]"}).settings.output, "[a,b]");
}

TEST(CommandLineTest, SwitchesStandAloneOrWithAValue) {
  EXPECT_TRUE(ParseCommandLine({"train", "--json"}).settings.json);
  EXPECT_TRUE(ParseCommandLine({"train", "--json", "on"}).settings.json);
  EXPECT_TRUE(ParseCommandLine({"train", "--json", "--lr", "1"}).settings.json);
  EXPECT_FALSE(ParseCommandLine({"train", "--json", "off"}).settings.json);
  EXPECT_FALSE(ParseCommandLine({"train", "--json=off"}).settings.json);
  EXPECT_FALSE(
      ParseCommandLine({"train", "--decay_norm_and_bias", "off"}).settings.decay_norm_and_bias);
  EXPECT_EQ(ParseCommandLine({"train", "--flip", "auto"}).settings.flip, std::nullopt);
  EXPECT_EQ(ParseCommandLine({"train", "--flip"}).settings.flip, true);
  const CommandLine info = ParseCommandLine({"info", "--json", "resnet20"});
  EXPECT_TRUE(info.settings.json);
  EXPECT_EQ(info.positional, "resnet20");
}

TEST(CommandLineTest, LastOfRepeatedFlagsCounts) {
  EXPECT_EQ(ParseCommandLine({"train", "--lr", "1", "--lr", "2"}).settings.lr, 2);
  EXPECT_EQ(ParseCommandLine({"train", "-b", "1", "--batch-size", "2"}).settings.batch_size, 2);
}

TEST(CommandLineTest, FlagsLieOverTheRecipeAndTheRecipeOverDefaults) {
  const TemporaryFolder folder;
  const std::string recipe = folder / "r.toml";
  WriteText(recipe, "lr = 0.5\nbatch-size = 64\n");
  // The place of --config does not matter.
  for (const Arguments& arguments : {Arguments{"train", "--config", recipe, "--lr", "0.25"},
                                     Arguments{"train", "--lr", "0.25", "--config=" + recipe}}) {
    const CommandLine command_line = ParseCommandLine(arguments);
    EXPECT_EQ(command_line.settings.lr, 0.25);
    EXPECT_EQ(command_line.settings.batch_size, 64);
    EXPECT_EQ(command_line.settings.model, Settings{}.model);
    EXPECT_EQ(command_line.recipe, recipe);
    EXPECT_EQ(command_line.sources,
              (SettingSources{{"lr", "--lr"}, {"batch-size", recipe + ":2"}}));
    EXPECT_EQ(command_line.flags,
              (std::vector<std::pair<std::string, std::string>>{{"lr", "0.25"}}));
  }
}

TEST(CommandLineTest, FlagsCanBeLaidOverOtherSettings) {
  const CommandLine command_line =
      ParseCommandLine({"eval", "run/", "--eval-batch-size", "16", "--json"});
  Settings settings;
  settings.model = "resnet56";
  SettingSources sources;
  ApplyFlags(command_line, settings, sources);
  EXPECT_EQ(command_line.positional, "run/");
  EXPECT_EQ(settings.model, "resnet56");
  EXPECT_EQ(settings.eval_batch_size, 16);
  EXPECT_TRUE(settings.json);
  EXPECT_EQ(sources.size(), 2u);
}

TEST(CommandLineTest, ErrorsNameTheFlagAndTheNearest) {
  ExpectRefused({"trian"}, {"'trian'", "train"});
  ExpectRefused({"help", "trian"}, {"'trian'", "train"});
  ExpectRefused({""}, {"unknown command"});
  ExpectRefused({"--lr", "1"}, {"unknown command '--lr'"});
  ExpectRefused({"train", "--bath-size", "3"}, {"--bath-size", "did you mean --batch-size?"});
  ExpectRefused({"train", "--confg", "x"}, {"did you mean --config?"});
  ExpectRefused({"train", "-x"}, {"'-x'", "--help"});
  ExpectRefused({"train", "stray"}, {"'stray'"});
  ExpectRefused({"info", "resnet20", "stray"}, {"'stray'"});
  ExpectRefused({"eval", "--epochs", "3"}, {"--epochs", "belongs to thinwire train"});
  ExpectRefused({"train", "--lr"}, {"--lr has no value", "a number"});
  ExpectRefused({"train", "--config"}, {"--config has no value"});
  ExpectRefused({"train", "--lr", "fast"}, {"--lr: 'fast'", "a number"});
  ExpectRefused({"train", "-b", "0"}, {"--batch-size: '0'", "from 1"});
  ExpectRefused({"train", "--json", "maybe"}, {"--json: 'maybe'", "on or off"});
  ExpectRefused({"train", "--opt", "adamm"}, {"--opt", "'adamm'", "adam"});
  ExpectRefused({"train", "--config", "/no/such.toml"}, {"/no/such.toml"});
  ExpectRefused({"export", "x", "--config", "y"}, {"--config"});
}

TEST(CommandLineTest, HelpAndVersion) {
  for (const Arguments& arguments : {Arguments{}, {"help"}, {"--help"}, {"-h"}}) {
    const CommandLine command_line = ParseCommandLine(arguments);
    EXPECT_EQ(command_line.command, Command::kHelp);
    EXPECT_EQ(command_line.text, HelpText(Command::kHelp));
  }
  for (const Arguments& arguments : {Arguments{"train", "--help"},
                                     {"train", "-h"},
                                     {"help", "train"},
                                     {"train", "--lr", "1", "--help"}}) {
    EXPECT_EQ(ParseCommandLine(arguments).text, HelpText(Command::kTrain));
  }
  for (const std::string word : {"version", "--version", "-V"}) {
    const CommandLine command_line = ParseCommandLine({word});
    EXPECT_EQ(command_line.command, Command::kVersion);
    EXPECT_EQ(command_line.text.find("thinwire "), 0u);
  }
}

TEST(CommandLineTest, HelpListsEveryFlagInAHundredColumns) {
  for (const Command command : {Command::kHelp, Command::kTrain, Command::kEval, Command::kInfo,
                                Command::kExport, Command::kPlot, Command::kBench}) {
    const std::string text = HelpText(command);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 100u) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
    if (command == Command::kHelp || command == Command::kPlot) continue;  // no settings
    for (const SettingEntry& entry : SettingEntries()) {
      EXPECT_EQ(text.find(std::string("--") + entry.name + " ") != std::string::npos,
                entry.belongs_to(command))
          << entry.name;
    }
  }
}

}  // namespace
}  // namespace thinwire
