// Whether settings fit each other.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include "kernels/error.h"
#include "train/settings.h"
#include "train/settings_value.h"
#include "train/step_profiler.h"

namespace thinwire {
namespace {

[[noreturn]] void Fail(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

void ValidateCompression(const Settings& settings) {
  const std::string& unit = settings.scale_granularity;
  const bool block = unit.starts_with("block:") && unit.size() > 6 && unit.size() <= 15 &&
                     unit.find_first_not_of("0123456789", 6) == std::string::npos &&
                     unit.find_first_not_of('0', 6) != std::string::npos;
  if (unit != "model" && unit != "tensor" && !block) {
    Fail(fmt::format("scale-granularity is {}", Quoted(unit)),
         "give model, tensor or block:N, as block:1024");
  }
  if (settings.topk && (settings.compressor == "sign" || settings.compressor == "identity")) {
    Fail(fmt::format("topk is {}, but compressor {} sends all elements", *settings.topk,
                     settings.compressor),
         "choose compressor topk or randk, or leave topk out");
  }
}

void ValidateImages(const Settings& settings) {
  const auto check = [](const char* name, const std::vector<double>& range) {
    if (range.size() == 2 && range[0] <= range[1]) return;
    Fail(fmt::format("{} is {}", name, fmt::join(range, ",")),
         "give the smallest and the largest, as 0.5,1");
  };
  check("crop-scale", settings.crop_scale);
  check("crop-ratio", settings.crop_ratio);
  if (settings.dataset == "packed" &&
      !(settings.train_files.empty() && settings.test_files.empty())) {
    Fail("train-files or test-files are given, but data set packed is one file", "leave them out");
  }
  if (!settings.randaugment.empty() &&
      (settings.randaugment.size() != 2 || settings.randaugment[1] > kMostMagnitude)) {
    Fail(fmt::format("randaugment is {}", fmt::join(settings.randaugment, ",")),
         fmt::format("give the number of operations and their strength, 0 to {}, as 2,9",
                     kMostMagnitude));
  }
  if (DatasetKind(settings) != "image-folder") {
    if (settings.randaugment.empty() && settings.color_jitter == 0) return;
    Fail(fmt::format("{} is given, but data set {} does not have it",
                     settings.randaugment.empty() ? "color-jitter" : "randaugment",
                     settings.dataset),
         "leave it out, or choose image-folder");
  }
  if (IsRegression(settings)) {
    Fail("data set image-folder is images of many sizes, but model is logreg",
         "choose another model");
  }
  if (settings.val_resize_size && *settings.val_resize_size < settings.img_size) {
    Fail(fmt::format("val-resize-size is {}, and img-size {}", *settings.val_resize_size,
                     settings.img_size),
         "make val-resize-size the larger one, or leave it out");
  }
  const auto refuse = [](bool given, const char* name, const char* instead) {
    if (!given) return;
    Fail(fmt::format("{} is given, but data set image-folder does not have it", name), instead);
  };
  refuse(settings.crop_padding.value_or(0) != 0, "crop-padding", "see crop-scale");
  refuse(settings.cutout != 0, "cutout", "leave it out");
  refuse(!settings.train_files.empty(), "train-files", "put the images into train/CLASS");
  refuse(!settings.test_files.empty(), "test-files", "put the images into val/CLASS");
}

void ValidateRegression(const Settings& settings) {
  if (!IsRegression(settings)) {
    if (settings.dtype != "f32") {
      Fail(fmt::format("dtype {} is for the logistic regression, but model is {}", settings.dtype,
                       settings.model),
           "choose dtype f32, or model logreg");
    }
    if (!settings.batch_size) {
      Fail("batch-size full is for the logistic regression, but model is " + settings.model,
           "give the number of images a batch, or choose model logreg");
    }
    if (settings.dataset == "libsvm") {
      Fail("data set libsvm is rows without a picture's shape, but model is " + settings.model,
           "choose model logreg");
    }
    return;
  }
  if (settings.dataset == "libsvm" && settings.train_files.empty()) {
    Fail("data set libsvm has no standard names, and no train-files are given",
         "name them, as --train-files a9a");
  }
  const auto refuse = [](bool given, const char* name) {
    if (given) {
      Fail(fmt::format("{} is given, but model logreg does not have it", name),
           fmt::format("leave {} out", name));
    }
  };
  refuse(settings.grad_accum_steps > 1, "grad-accum-steps");
  refuse(settings.label_smoothing > 0, "label-smoothing");
  refuse(settings.mixup > 0, "mixup");
  refuse(settings.cutmix > 0, "cutmix");
  refuse(settings.model_ema > 0, "model-ema");
  refuse(settings.amp, "amp");
  refuse(!settings.weights.empty(), "weights");
}

}  // namespace

void ValidateSettings(const Settings& settings) {
  if (settings.dataset != "shapes" && settings.data_dir.empty()) {
    Fail(fmt::format("data set {} is read from files, but no folder is given", settings.dataset),
         "name the folder with --data-dir");
  }
  if (!settings.gpus.empty() && settings.device == "cpu") {
    Fail("gpus are given for device cpu", "leave one of the two out");
  }
  if (settings.gpus.size() > 1 && settings.workers > 1 &&
      settings.workers % std::ssize(settings.gpus) != 0) {
    Fail(fmt::format("{} workers on {} gpus", settings.workers, settings.gpus.size()),
         "give each GPU as many, or leave workers out");
  }
  const int64_t gpus = std::max<int64_t>(1, std::ssize(settings.gpus));
  if (settings.workers_per_gpu > 1 && settings.workers > 1 &&
      settings.workers != gpus * settings.workers_per_gpu) {
    Fail(fmt::format("workers is {}, but {} workers-per-gpu on {} gpu{} are {}", settings.workers,
                     settings.workers_per_gpu, gpus, gpus == 1 ? "" : "s",
                     gpus * settings.workers_per_gpu),
         "make workers that number, or leave one of the two out");
  }
  if (settings.mean.size() != settings.std.size()) {
    Fail(
        fmt::format("mean has {} values and std has {}", settings.mean.size(), settings.std.size()),
        "give one of each for every channel, or neither");
  }
  if (settings.sched == "multistep" && settings.decay_milestones.empty()) {
    Fail("sched multistep has no decay-milestones", "give the epochs, as --decay-milestones 30,60");
  }
  for (size_t i = 1; i < settings.decay_milestones.size(); ++i) {
    if (settings.decay_milestones[i - 1] < settings.decay_milestones[i]) continue;
    Fail(fmt::format("decay-milestones are not rising: {} after {}", settings.decay_milestones[i],
                     settings.decay_milestones[i - 1]),
         "give each epoch once, smallest first");
  }
  if (MakeScheduleOptions(settings).name == "onecycle" && settings.warmup_epochs != 0) {
    Fail(fmt::format("warmup-epochs is {}, but onecycle has a warm-up of its own",
                     settings.warmup_epochs),
         "leave warmup-epochs out, or choose another sched");
  }
  if (settings.opt == "sgd" && settings.momentum.value_or(0) != 0) {
    Fail(fmt::format("opt sgd has no momentum, but momentum is {}", *settings.momentum),
         "choose opt momentum or nesterov");
  }
  ParseProfiledSteps(settings.profile);
  ValidateCompression(settings);
  ValidateImages(settings);
  ValidateRegression(settings);
}

}  // namespace thinwire
