// The schema's table, and what the folders below take from the settings.
#include "train/settings.h"

#include "datasets/packed_dataset.h"
#include "kernels/parameter_arena.h"
#include "kernels/plan_cache.h"

namespace thinwire {
namespace {

constexpr unsigned kTrain = static_cast<unsigned>(Command::kTrain);
constexpr unsigned kEval = static_cast<unsigned>(Command::kEval);
constexpr unsigned kInfo = static_cast<unsigned>(Command::kInfo);
constexpr unsigned kExport = static_cast<unsigned>(Command::kExport);
constexpr unsigned kBench = static_cast<unsigned>(Command::kBench);
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
constexpr NumberRange kImageSize = {.minimum = 1, .maximum = 8192};
constexpr NumberRange kRanks = {.minimum = 1, .maximum = 1024};
constexpr NumberRange kRatio = {.minimum = 0, .maximum = 1, .minimum_excluded = true};
constexpr NumberRange kCount = {.minimum = 1, .maximum = 100'000'000};

std::vector<std::string> Shortcuts() { return {"A", "B"}; }
std::vector<std::string> AmsgradForms() { return {"paper", "corrected"}; }
std::vector<std::string> Devices() { return {"auto", "cpu", "cuda"}; }
std::vector<std::string> DataTypes() { return {"f32", "f64"}; }
std::vector<std::string> AmpTypes() { return {"bf16"}; }
std::vector<std::string> DecayPlaces() { return {"auto", "worker", "update", "decoupled"}; }
std::vector<std::string> Compressors() { return {"auto", "sign", "topk", "randk", "identity"}; }
std::vector<std::string> SignScales() { return {"l1", "l2"}; }
std::vector<std::string> SmallTensors() { return {"bias", "bn"}; }
std::vector<std::string> IndexCodings() { return {"plain", "packed"}; }
std::vector<std::string> ValueTypes() { return {"f32", "bf16", "f16"}; }
std::vector<std::string> FirstMessages() { return {"auto", "compressed", "full", "zero"}; }
std::vector<std::string> BadImageChoices() { return {"fail", "skip"}; }
std::vector<std::string> CacheChoices() { return {"off", "ram"}; }
std::vector<std::string> Servers() { return {"sharded", "central"}; }

/// Data sets of images, and those of rows.
std::vector<std::string> AllDatasets() {
  std::vector<std::string> names = DatasetNames();
  names.push_back("libsvm");
  return names;
}

std::vector<std::string> Schedules() {
  std::vector<std::string> names = ScheduleNames();
  names.insert(names.begin(), "auto");
  return names;
}

}  // namespace

const std::vector<SettingEntry>& SettingEntries() {
  using S = Settings;
  // clang-format off
  static const std::vector<SettingEntry> entries = {
      {"dataset", 0, "Data", kModels, &S::dataset, "NAME",
       "data set; shapes are drawn by the program itself, libsvm is files of rows for logreg, packed "
       "is a file of thinwire prepare", {},
       AllDatasets},
      {"data-dir", 0, "Data", kModels, &S::data_dir, "FOLDER",
       "folder with the data set's files; image-folder: with train and val, or a folder for each "
       "class; packed: the file"},
      {"train-files", 0, "Data", kTrain, &S::train_files, "NAMES",
       "training files in data-dir, instead of the data set's standard names"},
      {"test-files", 0, "Data", kRuns, &S::test_files, "NAMES",
       "test files in data-dir, instead of the data set's standard names"},
      {"shapes-count", 0, "Data", kTrain, &S::shapes_count, "N",
       "training images of shapes", kCount},
      {"shapes-test-count", 0, "Data", kRuns, &S::shapes_test_count, "N",
       "test images of shapes", kCount},
      {"batch-size", 'b', "Data", kModels | kBench, &S::batch_size, "N",
       "images a batch of each worker; full: logreg takes all of a worker's rows", kBatch, nullptr,
       "full"},
      {"eval-batch-size", 0, "Data", kRuns, &S::eval_batch_size, "N",
       "images a batch of evaluation; auto: batch-size", kBatch},
      {"data-threads", 'j', "Data", kModels, &S::data_threads, "N",
       "threads that prepare batches ahead", kThreads},
      {"crop-padding", 0, "Data", kTrain, &S::crop_padding, "PIXELS",
       "zeros around an image before its random crop, 0 for no crop; auto: 4 for cifar, 2 for "
       "shapes, 0 for mnist", kPixels},
      {"flip", 0, "Data", kTrain, &S::flip, "on|off",
       "random flips, left to right; auto: on, but off for mnist"},
      {"cutout", 0, "Data", kTrain, &S::cutout, "PIXELS",
       "side of a random square that is blanked, 0 for none", kPixels},
      {"mixup", 0, "Data", kTrain, &S::mixup, "ALPHA",
       "blend each image of a batch, and its label, with another's, by a share from Beta(ALPHA, "
       "ALPHA), 0 for never", kNotNegative},
      {"cutmix", 0, "Data", kTrain, &S::cutmix, "ALPHA",
       "likewise, but replace a rectangle of that share; with both, each batch gets one of the two",
       kNotNegative},
      {"mean", 0, "Data", kRuns, &S::mean, "NUMBERS",
       "channels' mean of pixel / 255, instead of the data set's usual one", kFraction},
      {"std", 0, "Data", kRuns, &S::std, "NUMBERS",
       "channels' standard deviation of pixel / 255, likewise", kPositive},
      {"img-size", 0, "Data", kRuns, &S::img_size, "PIXELS",
       "image-folder: side of the square that the model sees", kImageSize},
      {"val-resize-size", 0, "Data", kRuns, &S::val_resize_size, "PIXELS",
       "image-folder: an image's shorter side before evaluation takes the square in its middle; "
       "auto: 8/7 of img-size", kImageSize},
      {"crop-scale", 0, "Data", kTrain, &S::crop_scale, "LOW,HIGH",
       "image-folder: share of an image's area that training takes", kRatio},
      {"crop-ratio", 0, "Data", kTrain, &S::crop_ratio, "LOW,HIGH",
       "image-folder: width by height of the part that training takes", kPositive},
      {"randaugment", 0, "Data", kTrain, &S::randaugment, "N,STRENGTH",
       "image-folder: that many random operations on each image (RandAugment), of strength 0 to "
       "30, as 2,9; empty: none", kPixels},
      {"color-jitter", 0, "Data", kTrain, &S::color_jitter, "SHARE",
       "image-folder: brightness, contrast and saturation change by up to this share, 0 for not",
       kFraction},
      {"scaled-decoding", 0, "Data", kRuns, &S::scaled_decoding, "on|off",
       "image-folder: decode JPEG at 1/2, 1/4 or 1/8 where the part stays large enough; auto: in "
       "training only, as evaluation then agrees with other programs"},
      {"exif-orientation", 0, "Data", kRuns, &S::exif_orientation, "on|off",
       "image-folder: turn images as their Exif data say; off: as torchvision"},
      {"max-pixels", 0, "Data", kModels, &S::max_pixels, "N",
       "image-folder: larger images are refused before they are decoded",
       {.minimum = 1, .maximum = 4'000'000'000}},
      {"on-bad-image", 0, "Data", kRuns, &S::on_bad_image, "fail|skip",
       "image-folder: stop at what cannot be read, or go on and say how many", {}, BadImageChoices},
      {"cache", 0, "Data", kTrain, &S::cache, "off|ram",
       "image-folder: keep what was read of an image's file in memory, and read it no more", {},
       CacheChoices},
      {"cache-limit", 0, "Data", kTrain, &S::cache_limit, "GIB",
       "memory for that, of each process; auto: until a tenth of the free memory is left",
       {.minimum = 0, .maximum = 1 << 20, .minimum_excluded = true}},

      {"model", 0, "Model", kModels | kBench, &S::model, "NAME",
       "model; `thinwire info` lists the names"},
      {"num-classes", 0, "Model", kModels | kBench, &S::num_classes, "N",
       "classes; auto: the data set's", kCount},
      {"shortcut", 0, "Model", kModels | kBench, &S::shortcut, "A|B",
       "CIFAR ResNets' shortcut: padding or a 1x1 convolution", {}, Shortcuts},
      {"dropout", 0, "Model", kTrain | kBench, &S::dropout, "RATE",
       "dropout of the models that have it; auto: the model's usual rate", kBelowOne},
      {"zero-init-residual", 0, "Model", kTrain, &S::zero_init_residual, "on|off",
       "start each residual block as the identity"},
      {"weights", 0, "Model", kRuns, &S::weights, "PATH",
       "safetensors file with the weights to start from"},
      {"lambda", 0, "Model", kTrain, &S::lambda, "L",
       "logreg: weight of the regulariser", kNotNegative},
      {"dtype", 0, "Model", kTrain, &S::dtype, "TYPE",
       "type of parameters and gradients; f64 is for logreg", {}, DataTypes},

      {"opt", 0, "Optimizer", kTrain | kBench, &S::opt, "NAME",
       "optimizer", {}, OptimizerNames},
      {"lr", 0, "Optimizer", kTrain, &S::lr, "RATE",
       "peak learning rate; 0.1 suits momentum, about 0.001 the Adam family", kNotNegative},
      {"momentum", 0, "Optimizer", kTrain, &S::momentum, "M",
       "momentum of the methods that are not of the Adam family; auto: 0.9 for momentum, nesterov, "
       "ef-sgdm and saef-sgdm, else 0", kBelowOne},
      {"beta1", 0, "Optimizer", kTrain, &S::beta1, "B",
       "decay of the Adam family's first moment", kBelowOne},
      {"beta2", 0, "Optimizer", kTrain, &S::beta2, "B",
       "decay of its second moment; auto: 0.999, but 0.99 for amsgrad in the paper's form and its "
       "compressed kin",
       kBelowOne},
      {"eps", 0, "Optimizer", kTrain, &S::eps, "E",
       "what the Adam family and rmsprop add to the denominator", kNotNegative},
      {"alpha", 0, "Optimizer", kTrain, &S::alpha, "A",
       "decay of rmsprop's average of squares", kBelowOne},
      {"amsgrad-form", 0, "Optimizer", kTrain, &S::amsgrad_form, "NAME",
       "paper: eps inside the root, bias not corrected; corrected: PyTorch's", {}, AmsgradForms},
      {"weight-decay", 0, "Optimizer", kTrain, &S::weight_decay, "RATE",
       "weight decay; auto: 0.0005, but 0 for logreg, which has a regulariser", kNotNegative},
      {"weight-decay-at", 0, "Optimizer", kTrain, &S::weight_decay_at, "PLACE",
       "add it to each worker's gradient, to the aggregated one, or shrink the weights by "
       "themselves; auto: worker, but decoupled in adamw and rmspropw", {}, DecayPlaces},
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

      {"compressor", 0, "Compression", kTrain | kBench, &S::compressor, "NAME",
       "how messages are compressed; auto: as the method's paper does", {}, Compressors},
      {"topk", 0, "Compression", kTrain | kBench, &S::topk, "K",
       "elements of a Top-K or Rand-K message; auto: topk-ratio of all", kCount},
      {"topk-ratio", 0, "Compression", kTrain | kBench, &S::topk_ratio, "RATIO",
       "the same as a part of all parameters", kRatio},
      {"scale-granularity", 0, "Compression", kTrain | kBench, &S::scale_granularity, "UNIT",
       "one scale of the signs for the model, for each tensor, or for block:N elements"},
      {"sign-scale", 0, "Compression", kTrain | kBench, &S::sign_scale, "NORM",
       "l1: mean magnitude; l2: root mean square", {}, SignScales},
      {"uncompressed-tensors", 0, "Compression", kTrain | kBench, &S::uncompressed_tensors, "KINDS",
       "small tensors that are sent as they are: bias, bn", {}, SmallTensors},
      {"index-coding", 0, "Compression", kTrain | kBench, &S::index_coding, "NAME",
       "indices of Top-K as 32-bit words, as papers count, or in fewer bits", {}, IndexCodings},
      {"value-type", 0, "Compression", kTrain | kBench, &S::value_type, "TYPE",
       "type of Top-K's and Rand-K's values on the wire", {}, ValueTypes},
      {"single-way", 0, "Compression", kTrain | kBench, &S::single_way, "on|off",
       "compress what workers send only; auto: off where a method can compress both ways"},
      {"error-average-period", 0, "Compression", kTrain | kBench, &S::error_average_period, "STEPS",
       "saef: steps between averages of the workers' errors, 0 for never", kNotNegative},
      {"freeze-steps", 0, "Compression", kTrain | kBench, &S::freeze_steps, "STEPS",
       "onebit-adam: steps of uncompressed Adam before the variance is frozen", kNotNegative},
      {"bias-correction", 0, "Compression", kTrain | kBench, &S::bias_correction, "on|off",
       "onebit-adam: correct Adam's bias"},
      {"eta", 0, "Compression", kTrain | kBench, &S::eta, "ETA",
       "ef21-sgdm, ef21-sgd2m: weight of the new gradient in its average", kRatio},
      {"first-message", 0, "Compression", kTrain | kBench, &S::first_message, "NAME",
       "ef21 and kin: what the first message holds; auto: the method's own", {}, FirstMessages},

      {"workers", 0, "Ranks", kTrain | kBench, &S::workers, "N",
       "ranks in this process; under mpirun each process is one rank", kRanks},
      {"server", 0, "Ranks", kTrain | kBench, &S::server, "NAME",
       "each rank serves a part of the vector, or rank 0 all of it", {}, Servers},
      {"bucket-mib", 0, "Ranks", kTrain | kBench, &S::bucket_mib, "MIB",
       "over NCCL, gradients are averaged, or with scales of single tensors compressed and sent, in "
       "parts of this size, while the backward pass goes on; 0: all at once, after it",
       {.minimum = 0, .maximum = 1 << 20}},
      {"dist-timeout", 0, "Ranks", kTrain | kBench, &S::dist_timeout, "SECONDS",
       "end the run if a rank makes no progress for so long", kPositive},
      {"replica-check-interval", 0, "Ranks", kTrain, &S::replica_check_interval, "STEPS",
       "steps between two comparisons of all ranks' parameters, 0 for checkpoints only",
       kNotNegative},

      {"epochs", 0, "Schedule", kTrain, &S::epochs, "N",
       "passes over the training images; auto: 10, or as many as max-steps takes", kAtLeastOne},
      {"max-steps", 0, "Schedule", kTrain, &S::max_steps, "N",
       "end after so many steps, 0 for no limit", kNotNegative},
      {"sched", 0, "Schedule", kTrain, &S::sched, "NAME",
       "how the learning rate changes; auto: onecycle, but constant for logreg", {}, Schedules},
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
      {"measure-interval", 0, "Run", kTrain, &S::measure_interval, "STEPS",
       "steps between two measurements of what compression does to the vectors, 0 for none",
       kNotNegative},
      {"eval-interval", 0, "Run", kTrain, &S::eval_interval, "EPOCHS",
       "epochs between two evaluations, 0 for one at the end", kNotNegative},
      {"profile", 0, "Run", kTrain, &S::profile, "START:COUNT",
       "steps that a profiler records which waits for cudaProfilerStart, as 100:10"},
      {"json", 0, "Run", kModels | kExport | kBench, &S::json, "on|off",
       "print results as JSON lines instead of text"},

      {"device", 0, "Machine", kModels | kBench, &S::device, "NAME",
       "where to compute; auto: cuda if there is one", {}, Devices},
      {"gpus", 0, "Machine", kTrain | kBench, &S::gpus, "GPU,GPU,...",
       "GPUs of this machine, with a rank each; under mpirun its processes take them in turn",
       kNotNegative},
      {"workers-per-gpu", 0, "Machine", kTrain | kBench, &S::workers_per_gpu, "N",
       "ranks of this process on each of its GPUs", kRanks},
      {"threads", 0, "Machine", kModels | kBench, &S::threads, "N",
       "threads of the CPU device; auto: one a core, or OMP_NUM_THREADS", kThreads},
      {"amp", 0, "Machine", kModels | kBench, &S::amp, "on|off",
       "activations and the weights that they meet in amp-dtype: half of the memory, and tensor cores "
       "on GPUs; parameters, gradients and statistics stay float32"},
      {"amp-dtype", 0, "Machine", kModels | kBench, &S::amp_dtype, "TYPE",
       "the type of amp", {}, AmpTypes},
      {"tf32", 0, "Machine", kRuns | kBench, &S::tf32, "on|off",
       "GPUs may take factors of convolutions and linear layers in TF32, on tensor cores: faster, "
       "with 10 of float32's 23 bits"},
      {"autotune", 0, "Machine", kRuns | kBench, &S::autotune, "on|off",
       "GPUs try the ways in which their libraries can compute convolutions and linear layers, and "
       "take the fastest; results differ in their last bits from those of others"},
      {"plan-cache", 0, "Machine", kRuns | kBench, &S::plan_cache, "PATH",
       "file of what autotune has found, for all later runs; ~/.cache/thinwire/plans if not given"},
      {"cuda-graph", 0, "Machine", kTrain | kBench, &S::cuda_graph, "on|off",
       "replay training steps as CUDA graphs after two of them; the results are the same"},
      {"seed", 0, "Machine", kTrain | kBench, &S::seed, "N",
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

bool IsRegression(const Settings& settings) { return settings.model == "logreg"; }

std::string DatasetKind(const Settings& settings) {
  return settings.dataset == "packed" ? PackedKind(settings.data_dir) : settings.dataset;
}

ModelOptions MakeModelOptions(const Settings& settings) {
  return {.classes = settings.num_classes.value_or(ModelOptions{}.classes),
          .shortcut = settings.shortcut.at(0),
          .dropout = settings.dropout.value_or(ModelOptions{}.dropout)};
}

OptimizerOptions MakeOptimizerOptions(const Settings& settings) {
  return {.name = settings.opt,
          .momentum = settings.momentum,
          .beta1 = settings.beta1,
          .beta2 = settings.beta2,
          .epsilon = settings.eps,
          .alpha = settings.alpha,
          .weight_decay = settings.weight_decay.value_or(IsRegression(settings) ? 0 : 5e-4),
          .decay_norm_and_bias = settings.decay_norm_and_bias,
          .amsgrad_form = settings.amsgrad_form,
          .weight_decay_at = settings.weight_decay_at,
          .compressor = settings.compressor,
          .top_k = settings.topk,
          .top_k_ratio = settings.topk_ratio,
          .scale_granularity = settings.scale_granularity,
          .sign_scale = settings.sign_scale,
          .uncompressed_tensors = settings.uncompressed_tensors,
          .index_coding = settings.index_coding,
          .value_type = settings.value_type,
          .server = settings.server,
          .single_way = settings.single_way,
          .error_average_period = settings.error_average_period,
          .freeze_steps = settings.freeze_steps,
          .bias_correction = settings.bias_correction,
          .eta = settings.eta,
          .first_message = settings.first_message,
          .seed = static_cast<uint64_t>(settings.seed)};
}

OptimizerOptions MakeOptimizerOptions(const Settings& settings, const Communicator& communicator) {
  OptimizerOptions options = MakeOptimizerOptions(settings);
  const bool early = settings.clip_grad == 0 && communicator.overlaps();
  if (!early || settings.bucket_mib == 0) return options;
  const int64_t even = ParameterArena::kAlignment * communicator.size();
  const auto elements = static_cast<int64_t>(settings.bucket_mib * (1 << 20) / sizeof(float));
  options.bucket_elements = std::max(elements / even, int64_t{1}) * even;
  return options;
}

DataType ActivationType(const Settings& settings) {
  return settings.amp ? DataType::kBFloat16 : DataType::kFloat32;
}

GpuOptions MakeGpuOptions(const Settings& settings) {
  return {.tf32 = settings.tf32,
          .autotune = settings.autotune,
          .plan_cache =
              settings.plan_cache.empty() ? PlanCache::DefaultPath() : settings.plan_cache};
}

ScheduleOptions MakeScheduleOptions(const Settings& settings) {
  const bool automatic = settings.sched == "auto";
  return {.name = !automatic               ? settings.sched
                  : IsRegression(settings) ? "constant"
                                           : "onecycle",
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
          .count = train ? settings.shapes_count : settings.shapes_test_count,
          .image = {.size = settings.img_size,
                    .resize = settings.val_resize_size.value_or((settings.img_size * 8 + 6) / 7),
                    .exif_orientation = settings.exif_orientation,
                    .scaled_decoding = settings.scaled_decoding,
                    .max_pixels = settings.max_pixels,
                    .skip_unreadable = settings.on_bad_image == "skip"}};
}

AugmentationOptions MakeAugmentationOptions(const Settings& settings) {
  const std::string kind = DatasetKind(settings);
  const bool cifar = kind == "cifar10" || kind == "cifar100", shapes = kind == "shapes";
  const bool encoded = kind == "image-folder";
  return {.crop_padding = settings.crop_padding.value_or(cifar    ? 4
                                                         : shapes ? 2
                                                                  : 0),
          .flip = settings.flip.value_or(cifar || shapes || encoded),
          .cutout = settings.cutout,
          .random_resized_crop = encoded,
          .crop_scale = {settings.crop_scale.at(0), settings.crop_scale.at(1)},
          .crop_ratio = {settings.crop_ratio.at(0), settings.crop_ratio.at(1)},
          .randaugment_operations = settings.randaugment.empty() ? 0 : settings.randaugment.at(0),
          .randaugment_magnitude = settings.randaugment.empty() ? 0 : settings.randaugment.at(1),
          .color_jitter = settings.color_jitter};
}

Normalization MakeNormalization(const Settings& settings) {
  if (settings.mean.empty()) return DefaultNormalization(DatasetKind(settings));
  Normalization normalization;
  normalization.mean.assign(settings.mean.begin(), settings.mean.end());
  normalization.deviation.assign(settings.std.begin(), settings.std.end());
  return normalization;
}

}  // namespace thinwire
