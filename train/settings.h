// All settings of a run, in one schema: from it come the command line's flags, the recipes' keys,
// the checks, the table that a run prints and the settings.toml that it leaves behind.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "datasets/batch_pipeline.h"
#include "datasets/dataset.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

namespace thinwire {

/// Every setting with its default. The member `data_dir` is the flag `--data-dir` and the recipe
/// key `data-dir`. An empty optional is written "auto" (batch-size: "full") and means that the
/// value follows from another setting, as the entry's help says.
struct Settings {
  // Data
  std::string dataset = "shapes";
  std::string data_dir;
  std::vector<std::string> train_files, test_files;  // empty: the data set's standard names
  int64_t shapes_count = 10000, shapes_test_count = 2000;
  std::optional<int64_t> batch_size = 128;  // of one rank; empty: all its rows
  std::optional<int64_t> eval_batch_size;
  int64_t data_threads = 2;
  std::optional<int64_t> crop_padding;
  std::optional<bool> flip;
  int64_t cutout = 0;             // 0: off
  double mixup = 0, cutmix = 0;   // 0: off
  std::vector<double> mean, std;  // empty: the data set's usual values
  int64_t img_size = 224;         // image-folder, as all that follow
  std::optional<int64_t> val_resize_size;
  std::vector<double> crop_scale = {0.08, 1}, crop_ratio = {0.75, 1.3333};
  std::vector<int64_t> randaugment;  // operations and their strength; empty: off
  double color_jitter = 0;           // 0: off
  std::optional<bool> scaled_decoding;
  bool exif_orientation = false;
  int64_t max_pixels = kDefaultMaxPixels;
  std::string on_bad_image = "fail";
  std::string cache = "off";
  std::optional<double> cache_limit;  // GiB

  // Model
  std::string model = "resnet20";
  std::optional<int64_t> num_classes;
  std::string shortcut = "A";
  std::optional<double> dropout;
  bool zero_init_residual = false;
  std::string weights;  // safetensors
  double lambda = 0.1;
  std::string dtype = "f32";

  // Optimizer
  std::string opt = "nesterov";
  double lr = 0.1;
  std::optional<double> momentum;
  double beta1 = 0.9;
  std::optional<double> beta2;
  double eps = 1e-8;
  double alpha = 0.99;
  std::string amsgrad_form = "paper";
  std::optional<double> weight_decay;
  std::string weight_decay_at = "auto";
  bool decay_norm_and_bias = true;
  double clip_grad = 0;  // 0: off
  int64_t grad_accum_steps = 1;
  double label_smoothing = 0;
  double model_ema = 0;  // 0: off

  // Compression
  std::string compressor = "auto";
  std::optional<int64_t> topk;
  double topk_ratio = 0.016;
  std::string scale_granularity = "model";
  std::string sign_scale = "l1";
  std::vector<std::string> uncompressed_tensors;
  std::string index_coding = "plain";
  std::string value_type = "f32";
  std::optional<bool> single_way;
  int64_t error_average_period = 0;  // 0: never
  int64_t freeze_steps = 0;
  bool bias_correction = false;
  double eta = 0.1;
  std::string first_message = "auto";

  // Ranks
  int64_t workers = 1;
  std::string server = "sharded";
  double bucket_mib = 25;                // 0: one reduction after the backward pass
  double dist_timeout = 300;             // seconds
  int64_t replica_check_interval = 100;  // steps; 0: only at checkpoints

  // Schedule
  std::optional<int64_t> epochs;
  int64_t max_steps = 0;  // 0: no limit
  std::string sched = "auto";
  double min_lr = 0;
  double warmup_epochs = 0;
  double warmup_lr = 0;
  std::vector<int64_t> decay_milestones;
  int64_t decay_epochs = 30;
  double decay_rate = 0.1;
  double poly_power = 1;

  // Run
  std::string output;               // the run's folder; empty: runs/EXPERIMENT
  std::string experiment;           // empty: made from model and data set
  std::string resume;               // "", "auto" or a path
  int64_t checkpoint_interval = 0;  // steps; 0: every epoch
  int64_t checkpoint_hist = 3;
  int64_t log_interval = 20;     // steps
  int64_t measure_interval = 0;  // steps; 0: never
  int64_t eval_interval = 1;     // epochs; 0: only at the end
  std::string profile;           // START:COUNT; empty: no steps
  bool json = false;

  // Machine
  std::string device = "auto";
  std::vector<int64_t> gpus;  // empty: GPU 0, or that of a process's number on its machine
  int64_t workers_per_gpu = 1;
  std::optional<int64_t> threads;
  bool amp = false;
  std::string amp_dtype = "bf16";
  bool tf32 = false;
  bool autotune = false;
  std::string plan_cache;  // empty: PlanCache::DefaultPath()
  int64_t seed = 0;
  bool cuda_graph = true;
  bool deterministic = false;

  bool operator==(const Settings&) const = default;
};

/// The program's commands; a setting belongs to one or more of them.
enum class Command : uint8_t {
  kHelp = 0,
  kVersion = 1,
  kTrain = 2,
  kEval = 4,
  kInfo = 8,
  kExport = 16,
  kPlot = 32,
  kBench = 64,
  kPrepare = 128,
};

/// What a number may be.
struct NumberRange {
  double minimum = std::numeric_limits<double>::lowest();
  double maximum = std::numeric_limits<double>::max();
  bool minimum_excluded = false, maximum_excluded = false;

  bool contains(double value) const {
    return (minimum_excluded ? value > minimum : value >= minimum) &&
           (maximum_excluded ? value < maximum : value <= maximum);
  }
};

/// One line of the schema.
struct SettingEntry {
  using Field = std::variant<bool Settings::*, int64_t Settings::*, double Settings::*,
                             std::string Settings::*, std::optional<bool> Settings::*,
                             std::optional<int64_t> Settings::*, std::optional<double> Settings::*,
                             std::vector<int64_t> Settings::*, std::vector<double> Settings::*,
                             std::vector<std::string> Settings::*>;

  const char* name;     // "batch-size"
  char short_flag;      // 'b', or 0
  const char* section;  // "Data"
  unsigned commands;    // Command values, or-ed
  Field field;
  const char* value;       // what help shows for the value: "N", "RATE", "PATH"
  const char* help;        // one sentence without a full stop
  NumberRange range = {};  // of a number, or of each number of a list
  /// A text's allowed values, or those of a list's elements; null if any text is allowed.
  std::vector<std::string> (*choices)() = nullptr;
  /// How an empty optional is written.
  const char* empty = "auto";

  bool belongs_to(Command command) const {
    return (commands & static_cast<unsigned>(command)) != 0;
  }
  /// on|off, with or without "auto": as a flag it may stand without a value.
  bool is_switch() const;
};

/// The schema, in the order of help and of settings.toml, sections together.
const std::vector<SettingEntry>& SettingEntries();
/// The entry of that name, or null.
const SettingEntry* FindSetting(std::string_view name);

/// Where settings that are not defaults came from: key -> "--batch-size" or "recipe.toml:3".
using SettingSources = std::map<std::string, std::string>;

/// Sets one setting from a flag's text: numbers, on|off (true|false), lists with commas (nothing
/// is the empty list), "auto".
/// @param source For messages: "--batch-size".
/// @throws Error (usage) naming the source, the value and what is allowed.
void SetFromText(const SettingEntry& entry, const std::string& text, const std::string& source,
                 Settings& settings);

/// A setting's value as a recipe writes it: 128, "resnet20", true, [1, 2], "auto".
std::string ValueAsToml(const SettingEntry& entry, const Settings& settings);
/// The same for people and flags: 128, resnet20, on, 1,2, auto; empty text and lists are empty.
std::string ValueAsText(const SettingEntry& entry, const Settings& settings);

/// Lays a recipe (flat TOML, keys spelled as the flags, with dashes or underscores) over
/// `settings`, which stay as they were on an error. `sources`, unless null, receives its keys.
/// @param name The file's name, for messages.
/// @throws Error (usage) with file, line, key, value and remedy: syntax, unknown or repeated key
///   (the nearest name is suggested), wrong type, value out of range.
void ApplyRecipe(std::string_view text, const std::string& name, Settings& settings,
                 SettingSources* sources = nullptr);
/// A recipe over the defaults.
Settings ParseRecipe(std::string_view text, const std::string& name);
/// Reads a file of at most 1 MiB. @throws Error also if it cannot be read.
void ApplyRecipeFile(const std::string& path, Settings& settings,
                     SettingSources* sources = nullptr);
/// A recipe with every setting, grouped by section; reading it gives equal settings.
std::string WriteRecipe(const Settings& settings);

/// Checks what no setting can check alone: that they fit each other.
/// @throws Error (usage) naming the keys.
void ValidateSettings(const Settings& settings);

/// The effective settings for people, grouped by section, in lines of at most 100 columns unless
/// one value is longer; those with a source are marked with a star.
std::string SettingsTable(const Settings& settings, const SettingSources& sources);

/// Whether the model is the logistic regression, which trains on rows and not on images.
bool IsRegression(const Settings& settings);

/// The data set whose usual settings hold: of a packed one, that which was packed.
/// @throws Error if the packed file cannot be read.
std::string DatasetKind(const Settings& settings);

// Views of the settings for the folders below.
/// Without a data set: of the model's usual images, in num-classes classes.
ModelOptions MakeModelOptions(const Settings& settings);
/// weight-decay "auto" is 5e-4, but 0 for the logistic regression, which has a regulariser.
OptimizerOptions MakeOptimizerOptions(const Settings& settings);
/// With buckets that the ranks can share evenly, if there are to be any: where the communicator
/// carries them beside the backward pass, and a rank's gradient is not to be scaled by its norm.
OptimizerOptions MakeOptimizerOptions(const Settings& settings, const Communicator& communicator);
/// Of networks: bfloat16 with amp.
DataType ActivationType(const Settings& settings);
GpuOptions MakeGpuOptions(const Settings& settings);
/// sched "auto" is onecycle, but constant for the logistic regression.
ScheduleOptions MakeScheduleOptions(const Settings& settings);
/// shapes are always drawn from the same seed, so that runs with different seeds share their data.
DatasetOptions MakeDatasetOptions(const Settings& settings, Split split);
/// Training's augmentation. crop-padding and flip "auto" are the data set's usual ones: cifar10 and
/// cifar100 4 and on, shapes 2 and on, mnist 0 and off (a flipped digit is another sign);
/// image-folder 0 and on, with random resized crops.
AugmentationOptions MakeAugmentationOptions(const Settings& settings);
/// The data set's usual normalization unless mean and std are given.
Normalization MakeNormalization(const Settings& settings);

}  // namespace thinwire
