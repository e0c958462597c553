#include "train/resume.h"

#include <fmt/format.h>

#include <set>
#include <string>

#include "kernels/error.h"

namespace thinwire {

Settings LastingSettings(const Settings& settings) {
  Settings lasting = settings;
  const Settings defaults;
  lasting.data_dir = defaults.data_dir;
  lasting.data_threads = defaults.data_threads;
  lasting.weights = defaults.weights;
  lasting.workers = defaults.workers;
  lasting.gpus = defaults.gpus;
  lasting.workers_per_gpu = defaults.workers_per_gpu;
  lasting.bucket_mib = defaults.bucket_mib;
  lasting.dist_timeout = defaults.dist_timeout;
  lasting.replica_check_interval = defaults.replica_check_interval;
  lasting.max_steps = defaults.max_steps;
  lasting.output = defaults.output;
  lasting.experiment = defaults.experiment;
  lasting.resume = defaults.resume;
  lasting.checkpoint_interval = defaults.checkpoint_interval;
  lasting.checkpoint_hist = defaults.checkpoint_hist;
  lasting.log_interval = defaults.log_interval;
  lasting.measure_interval = defaults.measure_interval;
  lasting.profile = defaults.profile;
  lasting.json = defaults.json;
  lasting.device = defaults.device;
  lasting.threads = defaults.threads;
  lasting.plan_cache = defaults.plan_cache;
  lasting.cuda_graph = defaults.cuda_graph;
  return lasting;
}

void CompareSettings(const Settings& settings, const Checkpoint& checkpoint,
                     ProgressLine& progress) {
  static const std::set<std::string> fixed = {"dataset",
                                              "train-files",
                                              "shapes-count",
                                              "img-size",
                                              "batch-size",
                                              "grad-accum-steps",
                                              "model",
                                              "num-classes",
                                              "shortcut",
                                              "lambda",
                                              "dtype",
                                              "opt",
                                              "model-ema",
                                              "amsgrad-form",
                                              "single-way",
                                              "freeze-steps",
                                              "bias-correction",
                                              "seed"};
  const auto stored = checkpoint.strings.find("settings");
  if (stored == checkpoint.strings.end()) {
    throw Error("the checkpoint to resume from holds no settings", "resume from another one");
  }
  const Settings before = ParseRecipe(stored->second, "the checkpoint's settings");
  const Settings now = LastingSettings(settings);
  for (const SettingEntry& entry : SettingEntries()) {
    const std::string old_value = ValueAsText(entry, before);
    const std::string new_value = ValueAsText(entry, now);
    if (old_value == new_value) continue;
    if (fixed.count(entry.name) != 0) {
      throw Error(fmt::format("--{} {} does not fit the run to resume, which has {}", entry.name,
                              new_value, old_value),
                  "resume with the run's own settings, or start a new run in another --output",
                  Error::Kind::kUsage);
    }
    progress.Print(
        fmt::format("Resuming with {} {} instead of {}", entry.name, new_value, old_value));
  }
}

}  // namespace thinwire
