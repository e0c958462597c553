#include "train/train_command.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "train/agreement.h"
#include "train/atomic_file.h"
#include "train/memory_advice.h"
#include "train/ranks.h"
#include "train/regression_trainer.h"
#include "train/run_folder.h"
#include "train/saved_run.h"
#include "train/stop_signal.h"
#include "train/trainer.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

/// Settings in which the ranks of a run may differ.
constexpr const char* kLocalSettings[] = {"data-dir", "data-threads", "gpus", "threads"};

/// What is settled before the ranks start.
struct Plan {
  Settings settings;
  SettingSources sources;
  std::unique_ptr<RunFolder> folder;
  std::optional<SavedRun> saved;
};

void PrintLine(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

bool IsLocal(const std::string& name) {
  for (const char* local : kLocalSettings) {
    if (name == local) return true;
  }
  return false;
}

/// The folder of a run that was given none: runs/EXPERIMENT, numbered where that exists.
std::string UnusedFolder(const Settings& settings) {
  const std::string base =
      "runs/" +
      (settings.experiment.empty() ? settings.model + "-" + settings.dataset : settings.experiment);
  std::string folder = base;
  for (int number = 2; fs::exists(folder); ++number) folder = fmt::format("{}-{}", base, number);
  return folder;
}

/// The run's folder that a checkpoint FOLDER/checkpoints/NAME.ckpt lies in, or `path` itself.
std::string RunOfCheckpoint(const std::string& path) {
  if (fs::is_directory(path)) return path;
  return fs::path(path).parent_path().parent_path().string();
}

/// Continuing a run takes its own settings where neither flags nor a recipe say otherwise.
Settings SettingsToResume(const CommandLine& command_line, const std::string& folder,
                          SettingSources& sources) {
  const std::string file = folder + "/settings.toml";
  if (!command_line.recipe.empty() || !fs::exists(file)) return command_line.settings;
  Settings settings;
  sources.clear();
  ApplyRecipeFile(file, settings, &sources);
  ApplyFlags(command_line, settings, sources);
  return settings;
}

/// The newest checkpoint of a run's folder, if it has any.
std::optional<SavedRun> NewestOf(const RunFolder& folder) {
  std::vector<std::string> skipped;
  std::string path;
  std::optional<Checkpoint> newest =
      CheckpointFolder(folder.checkpoints(), 1).LoadNewest(&skipped, &path);
  for (const std::string& damaged : skipped) PrintLine("Passing over " + damaged);
  if (newest) return SavedRun(path, *std::move(newest));
  if (!skipped.empty()) {
    throw Error(fmt::format("none of the checkpoints in {} is readable", folder.checkpoints()),
                "start a new run in another --output");
  }
  return std::nullopt;
}

/// @param under_mpi This process is one rank of several.
Plan MakePlan(const CommandLine& command_line, bool under_mpi) {
  Plan plan{command_line.settings, command_line.sources, {}, {}};
  Settings& settings = plan.settings;
  const std::string resume = settings.resume;
  if (resume == "auto" && settings.output.empty()) {
    throw Error("--resume auto needs to know which run", "name its folder with --output",
                Error::Kind::kUsage);
  }
  if (!resume.empty()) {
    std::string run = settings.output;
    if (resume != "auto") {
      run = RunOfCheckpoint(resume);
      std::string file;
      Checkpoint common = LoadCheckpointToResume(resume, &file);
      plan.saved.emplace(file, std::move(common));
      if (settings.output.empty()) settings.output = run;
    }
    const std::string output = settings.output;
    settings = SettingsToResume(command_line, run, plan.sources);
    settings.output = output;
  } else if (settings.output.empty()) {
    settings.output = UnusedFolder(settings);
  }
  settings.workers = WorkersOfProcess(settings, under_mpi);
  ValidateSettings(settings);
  CheckGpus(settings);
  plan.folder = std::make_unique<RunFolder>(settings.output, !resume.empty());
  if (resume == "auto") plan.saved = NewestOf(*plan.folder);
  settings.resume.clear();
  return plan;
}

/// Agrees with the other processes on a plan, which that of rank 0 makes.
Plan SharePlan(const CommandLine& command_line, MpiSession& mpi) {
  const Settings& given = command_line.settings;
  mpi.set_timeout(given.dist_timeout);
  const auto device = MakeCpuDevice(1);
  const auto communicator = mpi.Join(*device);
  CompareRanks(*communicator, BuildText(), "start the same program everywhere");
  std::string facts;
  for (const SettingEntry& entry : SettingEntries()) {
    if (IsLocal(entry.name)) continue;
    facts += fmt::format("--{} {}\n", entry.name, ValueAsText(entry, given));
  }
  CompareRanks(*communicator, facts, "start all ranks with the same settings", Error::Kind::kUsage);
  RefuseWorkers(given, mpi);

  Plan plan;
  if (mpi.rank() == 0) plan = MakePlan(command_line, true);
  const auto share = [&](const std::string& text) { return communicator->BroadcastHost(text, 0); };
  const std::string recipe = share(WriteRecipe(plan.settings));
  const std::string token = share(plan.folder ? plan.folder->token() : "");
  const std::string checkpoint = share(plan.saved ? plan.saved->path() : "");
  if (mpi.rank() == 0) return plan;

  plan.settings = ParseRecipe(recipe, "the settings of rank 0");
  for (const char* name : kLocalSettings) {
    const SettingEntry& entry = *FindSetting(name);
    if (!command_line.sources.contains(name)) continue;
    SetFromText(entry, ValueAsText(entry, given), name, plan.settings);
  }
  plan.folder = std::make_unique<RunFolder>(plan.settings.output, token);
  if (!checkpoint.empty()) plan.saved.emplace(checkpoint);
  return plan;
}

/// Data that all ranks of a process share; the first that asks loads it.
template <typename T>
class Shared {
 public:
  const T& Get(T (*load)(const Settings&), const Settings& settings) {
    std::call_once(once_, [&] { data_ = load(settings); });
    return data_;
  }

 private:
  std::once_flag once_;
  T data_;
};

/// Writes the classes' names by their numbers, a line each, where the data set tells them.
void WriteClasses(const RunFolder& folder, const Images& images) {
  std::string text;
  for (const std::string& name : images.train.class_names) text += name + "\n";
  if (!text.empty()) {
    WriteFileAtomically(folder.classes_file(), std::as_bytes(std::span(text)));
  }
}
void WriteClasses(const RunFolder&, const RegressionData&) {}

/// Runs a rank's trainer.
template <typename SomeTrainer, typename Data>
int TrainOnRank(const Plan& plan, Rank& rank, const Data& data) {
  SomeTrainer trainer(plan.settings, *plan.folder, plan.saved, rank, data);
  if (rank.first()) {
    const std::string recipe = WriteRecipe(plan.settings);
    WriteFileAtomically(plan.folder->settings_file(), std::as_bytes(std::span(recipe)));
    WriteClasses(*plan.folder, data);
  }
  return trainer.Run();
}

}  // namespace

int Train(const CommandLine& command_line, MpiSession* mpi) {
  const Plan plan = mpi != nullptr ? SharePlan(command_line, *mpi) : MakePlan(command_line, false);
  const bool first = mpi == nullptr || mpi->rank() == 0;
  if (first) PrintLine(SettingsTable(plan.settings, plan.sources));
  if (mpi != nullptr) mpi->set_timeout(plan.settings.dist_timeout);
  if (mpi != nullptr) mpi->set_stop_signal(StopSignal::received);
  Shared<Images> images;
  Shared<RegressionData> rows;
  const Settings& settings = plan.settings;
  const int status = RunRanks(settings, mpi, [&](Rank& rank) {
    if (IsRegression(settings)) {
      return TrainOnRank<RegressionTrainer>(plan, rank, rows.Get(LoadRegressionData, settings));
    }
    const Images& data = images.Get(LoadImages, settings);
    try {
      return TrainOnRank<Trainer>(plan, rank, data);
    } catch (const OutOfMemory& error) {
      throw WithAdvice(error, settings, BuildModelFor(settings, data.train));
    }
  });
  if (first && status == 0) PrintLine("The run is in " + plan.folder->path());
  return status;
}

}  // namespace thinwire
