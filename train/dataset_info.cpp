#include "train/dataset_info.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "datasets/image_folder.h"
#include "datasets/packed_images.h"
#include "kernels/error.h"
#include "train/image_survey.h"

namespace thinwire {
namespace {

constexpr size_t kShownProblems = 20;

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

/// A data set that was looked at.
struct Holdings {
  struct Part {
    const char* name;
    ImageSurvey survey;
  };
  std::string title = {};
  int64_t classes = 0;
  std::vector<Part> parts = {};  // training first
  /// Files and folders that cannot be read besides those of the surveys.
  std::vector<std::string> unreadable = {};
  std::vector<std::string> classes_only_in_val = {};
  std::vector<std::string> left_out = {};  // when it was packed, with reasons
};

SurveyedImage Decode(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels,
                     SurveyScratch& scratch) {
  const ImageHeader header = ReadImageHeader(bytes, name, max_pixels);
  scratch.pixels = DecodeImage(bytes, name, {}, max_pixels).pixels;
  return {FormatName(header.format), header.width, header.height, 3, scratch.pixels};
}

Holdings LookAtFolder(const Settings& settings) {
  DatasetOptions options = MakeDatasetOptions(settings, Split::kTrain);
  options.image.skip_unreadable = true;
  const std::string train_root = ImageFolderOf(settings.data_dir, Split::kTrain);
  std::string val_root;
  try {
    val_root = ImageFolderOf(settings.data_dir, Split::kTest);
  } catch (const Error&) {
    // There are training images alone.
  }
  const bool has_val = !val_root.empty() && val_root != train_root;
  Holdings holdings;
  std::vector<std::string> classes;
  const auto add = [&](const char* name, const std::string& root) {
    const ImageFolderListing listing = ListImageFolder(root);
    const Dataset dataset = MakeImageFolderDataset(listing, options.image);
    holdings.parts.push_back(
        {name,
         ImageSurvey(dataset.count, settings.data_threads, [&](int64_t i, SurveyScratch& scratch) {
           const auto bytes = dataset.encoded->Read(i, scratch.file);
           return Decode(bytes, dataset.encoded->name(i), settings.max_pixels, scratch);
         })});
    holdings.unreadable.insert(holdings.unreadable.end(), listing.problems.begin(),
                               listing.problems.end());
    if (classes.empty()) classes = listing.classes;
    std::set_difference(listing.classes.begin(), listing.classes.end(), classes.begin(),
                        classes.end(), std::back_inserter(holdings.classes_only_in_val));
  };
  add(has_val ? "train" : "images", train_root);
  if (has_val) add("val", val_root);
  holdings.classes = std::ssize(classes);
  return holdings;
}

Holdings LookAtPacked(const Settings& settings) {
  const PackedImages images(settings.data_dir);
  Holdings holdings{.title = fmt::format("packed from {}", images.kind()),
                    .classes = std::ssize(images.classes())};
  const auto read = [&](int64_t index, SurveyScratch& scratch) -> SurveyedImage {
    const PackedImages::Image image = images.Read(index);
    const std::span bytes(reinterpret_cast<const uint8_t*>(image.bytes.data()), image.bytes.size());
    if (image.channels > 0) {
      return {"bare pixels", image.width, image.height, image.channels, bytes};
    }
    return Decode(bytes, fmt::format("{} in {}", image.name, images.name()), settings.max_pixels,
                  scratch);
  };
  for (const auto& [name, split] : {std::pair("train", PackedSplit::kTrain),
                                    {"val", PackedSplit::kTest},
                                    {"images", PackedSplit::kBoth}}) {
    std::vector<int64_t> indices;
    for (int64_t i = 0; i < images.count(); ++i) {
      if (images.Describe(i).split == split) indices.push_back(i);
    }
    if (indices.empty()) continue;
    holdings.parts.push_back({name, ImageSurvey(std::ssize(indices), settings.data_threads,
                                                [&](int64_t i, SurveyScratch& scratch) {
                                                  return read(indices[static_cast<size_t>(i)],
                                                              scratch);
                                                })});
  }
  for (const PackedImages::LeftOut& left_out : images.left_out()) {
    holdings.left_out.emplace_back(left_out.reason);
  }
  return holdings;
}

Holdings LookAtPixels(const Settings& settings) {
  Holdings holdings{.title = settings.dataset};
  for (const auto& [name, split] : {std::pair("train", Split::kTrain), {"val", Split::kTest}}) {
    const Dataset dataset = LoadDataset(MakeDatasetOptions(settings, split), split);
    holdings.classes = dataset.classes;
    holdings.parts.push_back(
        {name, ImageSurvey(dataset.count, settings.data_threads,
                           [&](int64_t i, SurveyScratch&) -> SurveyedImage {
                             return {
                                 "bare pixels",
                                 dataset.width,
                                 dataset.height,
                                 dataset.channels,
                                 {dataset.image(i), static_cast<size_t>(dataset.image_bytes())}};
                           })});
  }
  return holdings;
}

void PrintPart(const char* name, const ImageSurvey& survey) {
  std::string line = fmt::format("{}: {} images", name, survey.images());
  for (const auto& [format, count] : survey.formats())
    line += fmt::format(", {} {}", count, format);
  if (survey.any()) {
    line += fmt::format(", {} to {} wide, {} to {} high\n  mean {:.4f}, standard deviation {:.4f}",
                        survey.width().least, survey.width().most, survey.height().least,
                        survey.height().most, fmt::join(survey.mean(), " "),
                        fmt::join(survey.deviation(), " "));
  }
  fmt::print("{}\n", line);
}

void PrintReasons(const std::vector<std::string>& reasons) {
  for (size_t i = 0; i < std::min(reasons.size(), kShownProblems); ++i) {
    fmt::print("  {}\n", reasons[i]);
  }
  if (reasons.size() > kShownProblems)
    fmt::print("  and {} more\n", reasons.size() - kShownProblems);
}

}  // namespace

void PrintDatasetInfo(const Settings& settings) {
  ValidateSettings(settings);
  const Holdings holdings = settings.dataset == "image-folder" ? LookAtFolder(settings)
                            : settings.dataset == "packed"     ? LookAtPacked(settings)
                                                               : LookAtPixels(settings);
  if (!holdings.title.empty()) fmt::print("{}\n", holdings.title);
  int64_t images = 0;
  std::vector<std::string> problems = holdings.unreadable;
  nlohmann::ordered_json counts = nlohmann::ordered_json::object();
  SideRange width, height;
  bool any = false;
  for (const auto& [name, survey] : holdings.parts) {
    PrintPart(name, survey);
    images += survey.images();
    for (const auto& [index, reason] : survey.unreadable()) problems.push_back(reason);
    if (holdings.parts.size() > 1) counts[name] = survey.images();
    if (!survey.any()) continue;
    for (const int64_t value : {survey.width().least, survey.width().most}) width.Include(value);
    for (const int64_t value : {survey.height().least, survey.height().most}) height.Include(value);
    any = true;
  }
  const size_t unreadable = problems.size();
  for (const std::string& name : holdings.classes_only_in_val) {
    problems.push_back(fmt::format("the class {} is in val alone", name));
  }
  fmt::print("{} images in {} classes, {} unreadable\n", images, holdings.classes, unreadable);
  PrintReasons(problems);
  if (!holdings.left_out.empty()) {
    fmt::print("{} left out when it was packed\n", holdings.left_out.size());
    PrintReasons(holdings.left_out);
  }
  if (!settings.json) return;
  nlohmann::ordered_json line = {{"images", images},
                                 {"classes", holdings.classes},
                                 {"unreadable", unreadable},
                                 {"left_out", holdings.left_out.size()},
                                 {"classes_only_in_val", holdings.classes_only_in_val}};
  line.update(counts);
  if (any) {
    const ImageSurvey& training = holdings.parts.front().survey;
    line.update({{"width", {width.least, width.most}},
                 {"height", {height.least, height.most}},
                 {"mean", training.mean()},
                 {"std", training.deviation()}});
  }
  // Names are the file system's bytes, which need not be UTF-8.
  fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace thinwire
