// The schema's table, and how one setting is set and written.
#include "train/settings.h"

#include <fmt/format.h>

#include "kernels/error.h"
#include "kernels/text.h"
#include "train/settings_value.h"

namespace thinwire {
namespace {

constexpr unsigned kTrain = static_cast<unsigned>(Command::kTrain);
constexpr unsigned kEval = static_cast<unsigned>(Command::kEval);
constexpr unsigned kInfo = static_cast<unsigned>(Command::kInfo);
constexpr unsigned kExport = static_cast<unsigned>(Command::kExport);
constexpr unsigned kRuns = kTrain | kEval;
constexpr unsigned kModels = kTrain | kEval | kInfo;

constexpr NumberRange kNotNegative = {.minimum = 0};
constexpr NumberRange kPositive = {.minimum = 0, .minimum_excluded = true};
constexpr NumberRange kAtLeastOne = {.minimum = 1};
constexpr NumberRange kBelowOne = {.minimum = 0, .maximum = 1, .maximum_excluded = true};
constexpr NumberRange kFraction = {.minimum = 0, .maximum = 1};
/// Limits that only keep a slip of the finger from asking for the whole memory.
constexpr NumberRange kThreads = {.minimum = 1, .maximum = 1024};
constexpr NumberRange kBatch = {.minimum = 1, .maximum = 1 << 20};
constexpr NumberRange kPixels = {.minimum = 0, .maximum = 1024};
constexpr NumberRange kCount = {.minimum = 1, .maximum = 100'000'000};

std::vector<std::string> Shortcuts() { return {"A", "B"}; }
std::vector<std::string> AmsgradForms() { return {"paper", "corrected"}; }
std::vector<std::string> Devices() { return {"auto", "cpu", "cuda"}; }

}  // namespace

const std::vector<SettingEntry>& SettingEntries() {
  using S = Settings;
  // clang-format off
  static const std::vector<SettingEntry> entries = {
      {"dataset", 0, "Data", kModels, &S::dataset, "NAME",
       "data set; shapes are drawn by the program itself", {}, DatasetNames},
      {"data-dir", 0, "Data", kRuns, &S::data_dir, "FOLDER",
       "folder with the data set's files"},
      {"train-files", 0, "Data", kTrain, &S::train_files, "NAMES",
       "training files in data-dir, instead of the data set's standard names"},
      {"test-files", 0, "Data", kRuns, &S::test_files, "NAMES",
       "test files in data-dir, instead of the data set's standard names"},
      {"shapes-count", 0, "Data", kTrain, &S::shapes_count, "N",
       "training images of shapes", kCount},
      {"shapes-test-count", 0, "Data", kRuns, &S::shapes_test_count, "N",
       "test images of shapes", kCount},
      {"batch-size", 'b', "Data", kModels, &S::batch_size, "N",
       "images a batch", kBatch},
      {"eval-batch-size", 0, "Data", kRuns, &S::eval_batch_size, "N",
       "images a batch of evaluation; auto: batch-size", kBatch},
      {"data-threads", 'j', "Data", kRuns, &S::data_threads, "N",
       "threads that prepare batches ahead", kThreads},
      {"crop-padding", 0, "Data", kTrain, &S::crop_padding, "PIXELS",
       "zeros around an image before its random crop, 0 for no crop; auto: 4 for cifar, 2 for "
       "shapes, 0 for mnist", kPixels},
      {"flip", 0, "Data", kTrain, &S::flip, "on|off",
       "random flips, left to right; auto: on for cifar and shapes, off for mnist"},
      {"cutout", 0, "Data", kTrain, &S::cutout, "PIXELS",
       "side of a random square that is blanked, 0 for none", kPixels},
      {"mean", 0, "Data", kRuns, &S::mean, "NUMBERS",
       "channels' mean of pixel / 255, instead of the data set's usual one", kFraction},
      {"std", 0, "Data", kRuns, &S::std, "NUMBERS",
       "channels' standard deviation of pixel / 255, likewise", kPositive},

      {"model", 0, "Model", kModels, &S::model, "NAME",
       "model; `thinwire info` lists the names"},
      {"num-classes", 0, "Model", kModels, &S::num_classes, "N",
       "classes; auto: the data set's", kCount},
      {"shortcut", 0, "Model", kModels, &S::shortcut, "A|B",
       "CIFAR ResNets' shortcut: padding or a 1x1 convolution", {}, Shortcuts},
      {"dropout", 0, "Model", kTrain, &S::dropout, "RATE",
       "dropout of the models that have it; auto: the model's usual rate", kBelowOne},
      {"zero-init-residual", 0, "Model", kTrain, &S::zero_init_residual, "on|off",
       "start each residual block as the identity"},
      {"weights", 0, "Model", kRuns, &S::weights, "PATH",
       "safetensors file with the weights to start from"},

      {"opt", 0, "Optimizer", kTrain, &S::opt, "NAME",
       "optimizer", {}, OptimizerNames},
      {"lr", 0, "Optimizer", kTrain, &S::lr, "RATE",
       "peak learning rate; 0.1 suits momentum, about 0.001 the Adam family", kNotNegative},
      {"momentum", 0, "Optimizer", kTrain, &S::momentum, "M",
       "momentum of momentum, nesterov, rmsprop, rmspropw and signsgd; auto: 0.9 for the first two, "
       "else 0", kBelowOne},
      {"beta1", 0, "Optimizer", kTrain, &S::beta1, "B",
       "decay of the Adam family's first moment", kBelowOne},
      {"beta2", 0, "Optimizer", kTrain, &S::beta2, "B",
       "decay of its second moment; auto: 0.999, but 0.99 for amsgrad in the paper's form",
       kBelowOne},
      {"eps", 0, "Optimizer", kTrain, &S::eps, "E",
       "what the Adam family and rmsprop add to the denominator", kNotNegative},
      {"alpha", 0, "Optimizer", kTrain, &S::alpha, "A",
       "decay of rmsprop's average of squares", kBelowOne},
      {"amsgrad-form", 0, "Optimizer", kTrain, &S::amsgrad_form, "NAME",
       "paper: eps inside the root, bias not corrected; corrected: PyTorch's", {}, AmsgradForms},
      {"weight-decay", 0, "Optimizer", kTrain, &S::weight_decay, "RATE",
       "decoupled in adamw and rmspropw, else added to the gradient", kNotNegative},
      {"decay-norm-and-bias", 0, "Optimizer", kTrain, &S::decay_norm_and_bias, "on|off",
       "decay batch norm parameters and biases, too"},
      {"clip-grad", 0, "Optimizer", kTrain, &S::clip_grad, "NORM",
       "largest norm of the whole gradient, 0 for no limit", kNotNegative},
      {"grad-accum-steps", 0, "Optimizer", kTrain, &S::grad_accum_steps, "N",
       "batches whose mean gradient makes one step", kAtLeastOne},
      {"label-smoothing", 0, "Optimizer", kTrain, &S::label_smoothing, "RATE",
       "share of the target spread over all classes", kBelowOne},
      {"model-ema", 0, "Optimizer", kTrain, &S::model_ema, "DECAY",
       "keep an average of the weights with this decay, 0 for none", kBelowOne},

      {"epochs", 0, "Schedule", kTrain, &S::epochs, "N",
       "passes over the training images; auto: 10, or as many as max-steps takes", kAtLeastOne},
      {"max-steps", 0, "Schedule", kTrain, &S::max_steps, "N",
       "end after so many steps, 0 for no limit", kNotNegative},
      {"sched", 0, "Schedule", kTrain, &S::sched, "NAME",
       "how the learning rate changes", {}, ScheduleNames},
      {"min-lr", 0, "Schedule", kTrain, &S::min_lr, "RATE",
       "where cosine and polynomial end", kNotNegative},
      {"warmup-epochs", 0, "Schedule", kTrain, &S::warmup_epochs, "N",
       "epochs of linear warm-up, parts allowed; not with onecycle, which has its own",
       {.minimum = 0, .maximum = 1'000'000}},
      {"warmup-lr", 0, "Schedule", kTrain, &S::warmup_lr, "RATE",
       "where the warm-up starts", kNotNegative},
      {"decay-milestones", 0, "Schedule", kTrain, &S::decay_milestones, "EPOCHS",
       "multistep: epochs at whose start the rate is multiplied by decay-rate, as 100,150", kAtLeastOne},
      {"decay-epochs", 0, "Schedule", kTrain, &S::decay_epochs, "N",
       "step: epochs between two such changes", kAtLeastOne},
      {"decay-rate", 0, "Schedule", kTrain, &S::decay_rate, "FACTOR",
       "step, multistep: the factor", kNotNegative},
      {"poly-power", 0, "Schedule", kTrain, &S::poly_power, "P",
       "polynomial: the exponent", kNotNegative},

      {"output", 0, "Run", kTrain | kExport, &S::output, "PATH",
       "train: the run's folder, runs/EXPERIMENT if not given; export: the file to write"},
      {"experiment", 0, "Run", kTrain, &S::experiment, "NAME",
       "name of the run; made from model and data set if not given"},
      {"resume", 0, "Run", kTrain, &S::resume, "PATH",
       "go on from a checkpoint; auto: from the newest one in output, if there is one"},
      {"checkpoint-interval", 0, "Run", kTrain, &S::checkpoint_interval, "STEPS",
       "steps between checkpoints, 0 for one every epoch", kNotNegative},
      {"checkpoint-hist", 0, "Run", kTrain, &S::checkpoint_hist, "N",
       "checkpoints that are kept, besides the best", kAtLeastOne},
      {"log-interval", 0, "Run", kTrain, &S::log_interval, "STEPS",
       "steps between two lines of the log", kAtLeastOne},
      {"eval-interval", 0, "Run", kTrain, &S::eval_interval, "EPOCHS",
       "epochs between two evaluations, 0 for one at the end", kNotNegative},
      {"json", 0, "Run", kModels | kExport, &S::json, "on|off",
       "print results as JSON lines instead of text"},

      {"device", 0, "Machine", kModels, &S::device, "NAME",
       "where to compute; auto: cuda if there is one", {}, Devices},
      {"threads", 0, "Machine", kModels, &S::threads, "N",
       "threads of the CPU device; auto: one a core, or OMP_NUM_THREADS", kThreads},
      {"seed", 0, "Machine", kTrain, &S::seed, "N",
       "of initial weights, order of images, augmentation and dropout", kNotNegative},
      {"deterministic", 0, "Machine", kTrain, &S::deterministic, "on|off",
       "only algorithms that repeat bit for bit; those of the CPU all do"},
  };
  // clang-format on
  return entries;
}

const SettingEntry* FindSetting(std::string_view name) {
  for (const SettingEntry& entry : SettingEntries()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

bool SettingEntry::is_switch() const {
  return std::holds_alternative<bool Settings::*>(field) ||
         std::holds_alternative<std::optional<bool> Settings::*>(field);
}

void ValidateSettings(const Settings& settings) {
  const auto fail = [](const std::string& problem, const std::string& remedy) {
    throw Error(problem, remedy, Error::Kind::kUsage);
  };
  if (settings.dataset != "shapes" && settings.data_dir.empty()) {
    fail(fmt::format("data set {} is read from files, but no folder is given", settings.dataset),
         "name the folder with --data-dir");
  }
  if (settings.mean.size() != settings.std.size()) {
    fail(
        fmt::format("mean has {} values and std has {}", settings.mean.size(), settings.std.size()),
        "give one of each for every channel, or neither");
  }
  if (settings.sched == "multistep" && settings.decay_milestones.empty()) {
    fail("sched multistep has no decay-milestones", "give the epochs, as --decay-milestones 30,60");
  }
  for (size_t i = 1; i < settings.decay_milestones.size(); ++i) {
    if (settings.decay_milestones[i - 1] < settings.decay_milestones[i]) continue;
    fail(fmt::format("decay-milestones are not rising: {} after {}", settings.decay_milestones[i],
                     settings.decay_milestones[i - 1]),
         "give each epoch once, smallest first");
  }
  if (settings.sched == "onecycle" && settings.warmup_epochs != 0) {
    fail(fmt::format("warmup-epochs is {}, but onecycle has a warm-up of its own",
                     settings.warmup_epochs),
         "leave warmup-epochs out, or choose another sched");
  }
  if (settings.opt == "sgd" && settings.momentum.value_or(0) != 0) {
    fail(fmt::format("opt sgd has no momentum, but momentum is {}", *settings.momentum),
         "choose opt momentum or nesterov");
  }
}

OptimizerOptions MakeOptimizerOptions(const Settings& settings) {
  return {.name = settings.opt,
          .momentum = settings.momentum,
          .beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .epsilon = settings.eps,
          .alpha = settings.alpha,
          .weight_decay = settings.weight_decay,
          .decay_norm_and_bias = settings.decay_norm_and_bias,
          .amsgrad_form = settings.amsgrad_form};
}

ScheduleOptions MakeScheduleOptions(const Settings& settings) {
  return {.name = settings.sched,
          .learning_rate = settings.lr,
          .min_learning_rate = settings.min_lr,
          .decay_rate = settings.decay_rate,
          .decay_epochs = settings.decay_epochs,
          .decay_milestones = settings.decay_milestones,
          .power = settings.poly_power,
          .warmup_epochs = settings.warmup_epochs,
          .warmup_learning_rate = settings.warmup_lr};
}

DatasetOptions MakeDatasetOptions(const Settings& settings, Split split) {
  const bool train = split == Split::kTrain;
  return {.name = settings.dataset,
          .data_dir = settings.data_dir,
          .files = train ? settings.train_files : settings.test_files,
          .count = train ? settings.shapes_count : settings.shapes_test_count};
}

AugmentationOptions MakeAugmentationOptions(const Settings& settings) {
  const bool cifar = settings.dataset == "cifar10" || settings.dataset == "cifar100";
  const bool shapes = settings.dataset == "shapes";
  return {.crop_padding = settings.crop_padding.value_or(cifar    ? 4
                                                         : shapes ? 2
                                                                  : 0),
          .flip = settings.flip.value_or(cifar || shapes),
          .cutout = settings.cutout};
}

Normalization MakeNormalization(const Settings& settings) {
  if (settings.mean.empty()) return DefaultNormalization(settings.dataset);
  Normalization normalization;
  normalization.mean.assign(settings.mean.begin(), settings.mean.end());
  normalization.deviation.assign(settings.std.begin(), settings.std.end());
  return normalization;
}

}  // namespace thinwire
