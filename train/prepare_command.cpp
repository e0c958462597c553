#include "train/prepare_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "datasets/dataset.h"
#include "kernels/crc32c.h"
#include "kernels/error.h"
#include "kernels/text.h"
#include "train/dataset_download.h"
#include "train/packed_writer.h"
#include "train/prepare_images.h"
#include "train/settings_value.h"

namespace thinwire {
namespace {

[[noreturn]] void Fail(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

const std::vector<std::string>& PixelDatasets() {
  static const std::vector<std::string> names = {"cifar10", "cifar100", "mnist"};
  return names;
}

bool HasImageFiles(const PrepareOptions& options) { return options.dataset == "imagenet"; }

struct SplitOfDataset {
  Dataset dataset;
  Split split;
  const char* folder;  // in names
};

}  // namespace

PrepareOptions ParsePrepareArguments(const std::vector<std::string>& arguments) {
  PrepareOptions options;
  std::string on_bad_image = "fail";
  CLI::App parser;
  parser.set_help_flag();
  parser.add_option("dataset", options.dataset);
  parser.add_option("source", options.source);
  parser.add_option("destination", options.destination);
  parser.add_flag("--overwrite", options.overwrite);
  const std::vector<CLI::Option*> of_image_files = {
      parser.add_flag("--copy", options.copy),
      parser.add_option("--max-side", options.max_side)->check(CLI::Range(1, 65500)),
      parser.add_option("--quality", options.quality)->check(CLI::Range(1, 100)),
      parser.add_option("--max-pixels", options.max_pixels)
          ->check(CLI::Range(int64_t{1}, int64_t{4'000'000'000})),
      parser.add_option("--on-bad-image", on_bad_image)->check(CLI::IsMember({"fail", "skip"})),
      parser.add_option("-j,--data-threads", options.threads)->check(CLI::Range(1, 1024))};
  CLI::Option* const download = parser.add_flag("--download", options.download);
  CLI::Option* const base_url = parser.add_option("--base-url", options.base_url)->needs(download);
  of_image_files[0]->excludes(of_image_files[1])->excludes(of_image_files[2]);
  parser.allow_extras();
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants it
  try {
    parser.parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    Fail(fmt::format("thinwire prepare: {}", error.what()), "see thinwire prepare --help");
  }
  if (const auto rest = parser.remaining(); !rest.empty()) {
    Fail(fmt::format("thinwire prepare does not know what to do with {}", Quoted(rest.front())),
         "see thinwire prepare --help");
  }
  if (options.destination.empty()) {
    Fail("thinwire prepare needs a data set, its folder and a file to write",
         "call it as thinwire prepare DATASET FOLDER FILE");
  }
  options.skip_unreadable = on_bad_image == "skip";
  std::vector<std::string> known = PixelDatasets();
  known.insert(known.begin(), "imagenet");
  if (std::find(known.begin(), known.end(), options.dataset) == known.end()) {
    Fail(fmt::format("thinwire prepare knows no data set {}", Quoted(options.dataset)),
         SuggestName(options.dataset, known));
  }
  const bool image_files = HasImageFiles(options);
  const std::vector<const CLI::Option*> of_pixels = {download, base_url};
  for (const CLI::Option* option : parser.get_options()) {
    const auto is_among = [&](const auto& list) {
      return std::find(list.begin(), list.end(), option) != list.end();
    };
    if (option->count() == 0 || !(image_files ? is_among(of_pixels) : is_among(of_image_files))) {
      continue;
    }
    Fail(fmt::format("thinwire prepare {} has no {}", options.dataset, option->get_name()),
         image_files ? "get the images from image-net.org" : "it is for files of images");
  }
  return options;
}

std::string PrepareFlagsHelp() {
  std::string text = "\nPrepare\n";
  const auto add = [&](const char* flag, const char* help) {
    text += fmt::format("      {:<26}{}\n", flag, help);
  };
  add("--overwrite", "replace a file that is there already");
  add("--download", "fetch what the folder lacks of cifar10, cifar100 or mnist first");
  add("--base-url URL", "from another place than their well-known ones");
  add("--copy", "imagenet: keep the files' bytes as they are");
  add("--max-side PIXELS", "imagenet: shrink images whose longer side is larger, as JPEG [500]");
  add("--quality N", "imagenet: quality of these JPEGs, 1 to 100 [90]");
  add("--max-pixels N", "imagenet: refuse larger images before decoding them [100000000]");
  add("--on-bad-image fail|skip", "imagenet: stop at what cannot be read, or leave it out [fail]");
  add("--data-threads N", "imagenet: threads that encode, also -j [one for each processor]");
  return text;
}

std::string PrepareDataset(const PrepareOptions& options) {
  if (!options.overwrite && std::filesystem::exists(options.destination)) {
    Fail(fmt::format("{} is there already", options.destination),
         "name another file, or replace it with --overwrite");
  }
  if (HasImageFiles(options)) return PrepareImageFolder(options);
  if (options.download) {
    DatasetSource place = SourceOfDataset(options.dataset);
    if (!options.base_url.empty()) place.base_url = options.base_url;
    DownloadDataset(place, options.source, [](const std::string& line) {
      fmt::print("{}\n", line);
      std::fflush(stdout);
    });
  }
  std::vector<SplitOfDataset> splits;
  splits.push_back({{}, Split::kTrain, "train"});
  splits.push_back({{}, Split::kTest, "test"});
  std::string source = options.dataset;
  for (SplitOfDataset& part : splits) {
    part.dataset = LoadDataset({.name = options.dataset, .data_dir = options.source}, part.split);
    source += fmt::format(" {} {} {:08x} {:08x}", part.folder, part.dataset.count,
                          Crc32c(std::as_bytes(std::span(part.dataset.images))),
                          Crc32c(std::as_bytes(std::span(part.dataset.labels))));
  }
  std::vector<std::string> classes;
  for (int64_t i = 0; i < splits[0].dataset.classes; ++i) classes.push_back(fmt::format("{}", i));

  PackedWriter writer(options.destination, source, options.dataset, classes);
  const int64_t before = writer.position();
  int64_t first = 0;  // of the split, among all images
  for (const auto& [dataset, split, folder] : splits) {
    while (writer.position() < first + dataset.count) {
      const int64_t i = writer.position() - first;
      const std::span<const uint8_t> pixels(dataset.image(i),
                                            static_cast<size_t>(dataset.image_bytes()));
      const std::string name = fmt::format("{}/{}", folder, i);
      writer.Append({.bytes = std::as_bytes(pixels),
                     .label = dataset.labels[static_cast<size_t>(i)],
                     .split = PackedSplitOf(split),
                     .name = name,
                     .height = dataset.height,
                     .width = dataset.width,
                     .channels = dataset.channels});
    }
    first += dataset.count;
  }
  writer.Commit();
  return fmt::format("Packed {} training and {} test images of {} into {}{}",
                     splits[0].dataset.count, splits[1].dataset.count, options.dataset,
                     options.destination,
                     before > 0 ? fmt::format(", {} of which were there already", before) : "");
}

}  // namespace thinwire
