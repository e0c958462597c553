#include "train/commands.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "kernels/error.h"
#include "layers/layer_table.h"
#include "models/models.h"
#include "train/atomic_file.h"
#include "train/bench_command.h"
#include "train/dataset_info.h"
#include "train/evaluation.h"
#include "train/plot_command.h"
#include "train/prepare_command.h"
#include "train/run_folder.h"
#include "train/train_command.h"
#include "train/trainer.h"
#include "train/weights.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

void PrintLine(const std::string& line) {
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

int64_t BatchSize(const Settings& settings) {
  return settings.batch_size.value_or(*Settings{}.batch_size);
}

/// What eval and export work on: settings, and weights from --weights, a checkpoint or a run.
struct TrainedModel {
  Settings settings;
  std::optional<Checkpoint> checkpoint;
};

TrainedModel FindTrainedModel(const CommandLine& command_line) {
  TrainedModel found{.settings = command_line.settings, .checkpoint = {}};
  if (!command_line.positional.empty()) {
    if (!found.settings.weights.empty()) {
      throw Error(fmt::format("both {} and --weights {} are given", command_line.positional,
                              found.settings.weights),
                  "name one of them", Error::Kind::kUsage);
    }
    found.checkpoint = LoadCheckpointOf(command_line.positional);
    found.settings = {};
    const std::string run_settings = command_line.positional + "/settings.toml";
    const auto stored = found.checkpoint->strings.find("settings");
    if (fs::exists(run_settings)) {
      ApplyRecipeFile(run_settings, found.settings);
    } else if (stored != found.checkpoint->strings.end()) {
      ApplyRecipe(stored->second, command_line.positional, found.settings);
    }
    SettingSources sources;
    ApplyFlags(command_line, found.settings, sources);
  } else if (found.settings.weights.empty()) {
    throw Error("there are no weights to work on",
                "name a run's folder, a checkpoint, or --model and --weights", Error::Kind::kUsage);
  }
  return found;
}

void LoadInto(const TrainedModel& model, ParameterArena& arena) {
  if (model.checkpoint) {
    RestoreWeights(*model.checkpoint, /*average=*/true, arena);
  } else {
    LoadWeights(model.settings.weights, arena);
  }
}

int Eval(const CommandLine& command_line) {
  const TrainedModel model = FindTrainedModel(command_line);
  const Settings& settings = model.settings;
  const auto device = MakeDevice(settings.device, static_cast<int>(settings.threads.value_or(0)),
                                 /*gpu=*/0, MakeGpuOptions(settings));
  const Dataset test_set = LoadDataset(MakeDatasetOptions(settings, Split::kTest), Split::kTest);
  const LayerGraph graph = BuildModelFor(settings, test_set);
  const DataType activations = ActivationType(settings);
  ParameterArena arena(*device, graph.tensor_specs(), DataType::kFloat32, activations);
  LoadInto(model, arena);
  arena.RoundValues();
  const int64_t batch_size = settings.eval_batch_size.value_or(BatchSize(settings));
  Network network(graph, arena,
                  {.batch_size = batch_size, .training = false, .activations = activations});
  const Evaluation result = Evaluate(*device, network, test_set,
                                     {.batch_size = batch_size,
                                      .augmentation = {},
                                      .normalization = MakeNormalization(settings),
                                      .threads = static_cast<int>(settings.data_threads)});
  PrintLine(fmt::format("{} on {}: loss {:.4f}, top-1 {:.2f}% ({} of {}), top-5 {:.2f}%",
                        graph.name(), test_set.name, result.loss(), 100 * result.top1(),
                        result.correct_top1, result.rows, 100 * result.top5()));
  const int64_t left_out = result.unreadable + std::ssize(test_set.left_out);
  if (left_out > 0) PrintLine(fmt::format("{} could not be read and were left out", left_out));
  if (settings.json) {
    // JSON has no NaN.
    const std::string loss =
        std::isfinite(result.loss()) ? fmt::format("{}", result.loss()) : std::string("null");
    PrintLine(fmt::format(R"({{"loss": {}, "top1": {}, "top5": {}, "correct": {}, "total": {}}})",
                          loss, result.top1(), result.top5(), result.correct_top1, result.rows));
  }
  return 0;
}

int Info(const CommandLine& command_line) {
  const Settings& settings = command_line.settings;
  if (command_line.positional.empty() && command_line.sources.contains("dataset")) {
    PrintDatasetInfo(settings);
    return 0;
  }
  if (command_line.positional.empty()) {
    std::string names;
    for (const std::string& name : ModelNames()) names += "\n  " + name;
    PrintLine("Models (thinwire info MODEL shows one):" + names);
    return 0;
  }
  const LayerGraph graph = BuildModel(command_line.positional, MakeModelOptions(settings));
  const DataType activations = ActivationType(settings);
  PrintLine(FormatLayerTable(graph, BatchSize(settings), activations));
  if (settings.json) {
    const LayerTotals totals = TotalsOf(graph, BatchSize(settings), activations);
    PrintLine(fmt::format(
        R"({{"model": "{}", "layers": {}, "parameters": {}, "forward_flops": {}, )"
        R"("batch_size": {}, "training_bytes": {}, "training_bytes_without_reuse": {}, )"
        R"("inference_bytes": {}, "inference_bytes_without_reuse": {}}})",
        graph.name(), totals.layers, totals.parameters, totals.forward_flops, BatchSize(settings),
        totals.training_bytes, totals.training_bytes_without_reuse, totals.inference_bytes,
        totals.inference_bytes_without_reuse));
  }
  return 0;
}

int Export(const CommandLine& command_line) {
  const TrainedModel model = FindTrainedModel(command_line);
  const Settings& settings = model.settings;
  if (command_line.settings.output.empty()) {
    throw Error("export needs a file to write", "name it with --output FILE.safetensors",
                Error::Kind::kUsage);
  }
  ModelOptions options = MakeModelOptions(settings);
  int64_t batches = 0;
  if (model.checkpoint) {
    const auto integer = [&](const char* name) {
      const auto found = model.checkpoint->integers.find(name);
      if (found == model.checkpoint->integers.end()) {
        throw Error(fmt::format("the checkpoint lacks {}", name), "export another one");
      }
      return found->second;
    };
    options.classes = integer("classes");
    options.height = integer("height");
    options.width = integer("width");
    options.channels = integer("channels");
    batches = integer("step") * settings.grad_accum_steps;
  }
  const auto device = MakeDevice("cpu");
  const LayerGraph graph = BuildModel(settings.model, options);
  ParameterArena arena(*device, graph.tensor_specs());
  LoadInto(model, arena);
  SaveWeights(command_line.settings.output, arena, batches);
  PrintLine(fmt::format("Wrote {} parameters of {} to {}", arena.parameter_count(), graph.name(),
                        command_line.settings.output));
  return 0;
}

}  // namespace

int RunCommand(const CommandLine& command_line, MpiSession* mpi) {
  const bool is_text =
      command_line.command == Command::kHelp || command_line.command == Command::kVersion;
  if (mpi != nullptr && is_text && mpi->rank() != 0) return 0;
  if (mpi != nullptr && !is_text && command_line.command != Command::kTrain &&
      command_line.command != Command::kBench) {
    throw Error(fmt::format("only thinwire train and bench run on several ranks, and this is one "
                            "of {}",
                            mpi->size()),
                "start it without mpirun", Error::Kind::kUsage);
  }
  switch (command_line.command) {
    case Command::kHelp:
    case Command::kVersion:
      fmt::print("{}", command_line.text);
      return 0;
    case Command::kTrain:
      return Train(command_line, mpi);
    case Command::kEval:
      return Eval(command_line);
    case Command::kInfo:
      return Info(command_line);
    case Command::kExport:
      return Export(command_line);
    case Command::kPlot:
      PlotRuns(command_line.plot);
      PrintLine("The drawing is in " + command_line.plot.output);
      return 0;
    case Command::kPrepare:
      PrintLine(PrepareDataset(command_line.prepare));
      return 0;
    case Command::kBench:
      RunBench(command_line.bench, command_line.settings, mpi);
      return 0;
  }
  return 2;
}

}  // namespace thinwire
