#include "train/dataset_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <iterator>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "datasets/image_folder.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr size_t kShownProblems = 20;

/// What a split's files turned out to be.
struct Survey {
  int64_t images = 0;
  std::map<std::string, int64_t> formats;     // of those that can be read
  std::map<int64_t, std::string> unreadable;  // by index, with reasons
  int64_t least_width = 0, least_height = 0, most_width = 0, most_height = 0;
};

const char* FormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kBmp:
      return "BMP";
    case ImageFormat::kGif:
      return "GIF";
    case ImageFormat::kPnm:
      return "PNM";
  }
  return "";
}

Survey Examine(const Dataset& dataset, int64_t threads) {
  Survey survey;
  survey.images = dataset.count;
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    std::vector<uint8_t> buffer;
    const int64_t max_pixels = dataset.image_options.max_pixels;
    for (int64_t i = next++; i < dataset.count; i = next++) {
      try {
        const auto bytes = dataset.encoded->Read(i, buffer);
        const std::string name = dataset.encoded->name(i);
        const ImageHeader header = ReadImageHeader(bytes, name, max_pixels);
        DecodeImage(bytes, name, {}, max_pixels);
        const std::lock_guard lock(mutex);
        const bool first = survey.formats.empty();
        ++survey.formats[FormatName(header.format)];
        const auto include = [first](int64_t value, int64_t& least, int64_t& most) {
          least = first ? value : std::min(least, value);
          most = std::max(most, value);
        };
        include(header.width, survey.least_width, survey.most_width);
        include(header.height, survey.least_height, survey.most_height);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        survey.unreadable.emplace(i, error.what());
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = dataset.count;
      }
    }
  };
  {
    std::vector<std::jthread> pool;
    for (int64_t i = 0; i < threads; ++i) pool.emplace_back(work);
  }
  if (failure) std::rethrow_exception(failure);
  return survey;
}

void PrintSplit(const char* name, const Survey& survey) {
  std::string formats;
  for (const auto& [format, count] : survey.formats)
    formats += fmt::format(", {} {}", count, format);
  fmt::print("{}: {} images{}", name, survey.images, formats);
  if (!survey.formats.empty()) {
    fmt::print(", {} to {} wide, {} to {} high", survey.least_width, survey.most_width,
               survey.least_height, survey.most_height);
  }
  fmt::print("\n");
}

void PrintImageFolder(const Settings& settings) {
  DatasetOptions options = MakeDatasetOptions(settings, Split::kTrain);
  options.image.skip_unreadable = true;
  const std::string train_root = ImageFolderOf(settings.data_dir, Split::kTrain);
  std::string val_root;
  try {
    val_root = ImageFolderOf(settings.data_dir, Split::kTest);
  } catch (const Error&) {
    // There are training images alone.
  }
  const ImageFolderListing train = ListImageFolder(train_root);
  const bool has_val = !val_root.empty() && val_root != train_root;
  ImageFolderListing val;
  if (has_val) val = ListImageFolder(val_root);
  std::vector<std::string> strangers;
  std::set_difference(val.classes.begin(), val.classes.end(), train.classes.begin(),
                      train.classes.end(), std::back_inserter(strangers));

  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  std::vector<std::string> problems;
  int64_t images = 0, unreadable = 0;
  std::vector<std::pair<const char*, const ImageFolderListing*>> splits = {
      {has_val ? "train" : "images", &train}};
  if (has_val) splits.emplace_back("val", &val);
  for (const auto& [name, listing] : splits) {
    const Survey survey =
        Examine(MakeImageFolderDataset(*listing, options.image), settings.data_threads);
    PrintSplit(name, survey);
    problems.insert(problems.end(), listing->problems.begin(), listing->problems.end());
    for (const auto& [index, reason] : survey.unreadable) problems.push_back(reason);
    images += survey.images;
    unreadable += std::ssize(survey.unreadable) + std::ssize(listing->problems);
    if (has_val) json[name] = survey.images;
  }
  for (const std::string& name : strangers) {
    problems.push_back(fmt::format("the class {} is in {} alone", name, val_root));
  }
  fmt::print("{} images in {} classes, {} unreadable\n", images, train.classes.size(), unreadable);
  for (size_t i = 0; i < std::min(problems.size(), kShownProblems); ++i) {
    fmt::print("  {}\n", problems[i]);
  }
  if (problems.size() > kShownProblems) {
    fmt::print("  and {} more\n", problems.size() - kShownProblems);
  }
  if (!settings.json) return;
  nlohmann::ordered_json line = {{"images", images},
                                 {"classes", train.classes.size()},
                                 {"unreadable", unreadable},
                                 {"classes_only_in_val", strangers}};
  line.update(json);
  // Names are the file system's bytes, which need not be UTF-8.
  fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

void PrintDatasetInfo(const Settings& settings) {
  ValidateSettings(settings);
  if (settings.dataset == "image-folder") return PrintImageFolder(settings);
  const Dataset train = LoadDataset(MakeDatasetOptions(settings, Split::kTrain), Split::kTrain);
  const Dataset test = LoadDataset(MakeDatasetOptions(settings, Split::kTest), Split::kTest);
  fmt::print("{}: {} training and {} test images of {}x{}x{} in {} classes\n", train.name,
             train.count, test.count, train.height, train.width, train.channels, train.classes);
  if (!settings.json) return;
  fmt::print(R"({{"images": {}, "classes": {}, "unreadable": 0, "train": {}, "val": {}}})"
             "\n",
             train.count + test.count, train.classes, train.count, test.count);
}

}  // namespace thinwire
