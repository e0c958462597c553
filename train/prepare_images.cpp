#include "train/prepare_images.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "comm/failure.h"
#include "datasets/image_folder.h"
#include "datasets/image_shrinker.h"
#include "kernels/crc32c.h"
#include "kernels/error.h"
#include "train/ordered_work.h"
#include "train/packed_writer.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

constexpr double kSecondsBetweenReports = 10;

/// A split's images, and before them what its folders have that is none.
struct Part {
  PackedSplit split;
  const char* folder;  // in messages
  Dataset dataset;
  int64_t size() const { return std::ssize(dataset.left_out) + dataset.count; }
};

std::vector<Part> ListParts(const PrepareOptions& options) {
  const ImageOptions image = {.max_pixels = options.max_pixels,
                              .skip_unreadable = options.skip_unreadable};
  const auto load = [&](Split split) { return LoadImageFolder(options.source, image, split); };
  std::vector<Part> parts;
  const bool divided =
      ImageFolderOf(options.source, Split::kTrain) != ImageFolderOf(options.source, Split::kTest);
  parts.push_back(
      {divided ? PackedSplit::kTrain : PackedSplit::kBoth, "training", load(Split::kTrain)});
  if (divided) parts.push_back({PackedSplit::kTest, "test", load(Split::kTest)});
  return parts;
}

/// An image's name in the packed file: its path below the folder.
std::string NameBelow(const std::string& folder, const std::string& path) {
  return fs::path(path).lexically_relative(folder).generic_string();
}

/// All that decides what the file will hold. An image that is written anew after it was packed has
/// another time.
std::string DescribeSource(const PrepareOptions& options, const std::vector<Part>& parts) {
  std::string source = options.copy ? "images copied"
                                    : fmt::format("images up to {} at quality {}", options.max_side,
                                                  options.quality);
  source += fmt::format(", of at most {} pixels", options.max_pixels);
  for (const Part& part : parts) {
    uint32_t checksum = 0;
    const auto add = [&](const std::string& text) {
      checksum = Crc32c(std::as_bytes(std::span(text)), checksum);
    };
    for (const std::string& name : part.dataset.class_names) add(name + '\n');
    for (const std::string& problem : part.dataset.left_out) add(problem + '\n');
    for (int64_t i = 0; i < part.dataset.count; ++i) {
      const std::string path = part.dataset.encoded->name(i);
      struct stat status {};
      ::stat(path.c_str(), &status);  // of what is not there, zeros
      add(fmt::format("{} {} {} {}.{}\n", NameBelow(options.source, path),
                      part.dataset.labels[static_cast<size_t>(i)], status.st_size,
                      status.st_mtim.tv_sec, status.st_mtim.tv_nsec));
    }
    source += fmt::format(", {} {} {:08x}", static_cast<int>(part.split), part.size(), checksum);
  }
  return source;
}

/// An image on its way into the file: bytes, or why it is left out.
struct Packed {
  std::vector<uint8_t> bytes;
  std::string problem;
};

class FolderPacker {
 public:
  FolderPacker(const PrepareOptions& options, const std::vector<Part>& parts, PackedWriter& writer)
      : options_(options), parts_(parts), writer_(writer) {
    for (const Part& part : parts) total_ += part.size();
  }

  /// From where the writer stands to the end.
  void Run() {
    const int threads = options_.threads > 0
                            ? static_cast<int>(options_.threads)
                            : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    WorkInOrder<Packed>(
        writer_.position(), total_, threads, [this](int64_t i) { return Make(i); },
        [this](int64_t i, Packed packed) { Write(i, packed); });
  }

 private:
  /// A part and a number in it, below zero for what is no image.
  struct Place {
    const Part& part;
    int64_t index;
  };
  Place Find(int64_t item) const {
    const Part* part = parts_.data();
    while (item >= part->size()) item -= (part++)->size();
    return {*part, item - std::ssize(part->dataset.left_out)};
  }
  std::string NameOf(const Place& place) const {
    return NameBelow(options_.source, place.part.dataset.encoded->name(place.index));
  }

  Packed Make(int64_t item) const {
    const Place place = Find(item);
    if (place.index < 0) {
      const std::vector<std::string>& problems = place.part.dataset.left_out;
      return {{}, problems[static_cast<size_t>(place.index + std::ssize(problems))]};
    }
    Packed packed;
    const ShrinkOptions shrink = {.max_side = options_.copy ? 0 : options_.max_side,
                                  .quality = static_cast<int>(options_.quality),
                                  .max_pixels = options_.max_pixels};
    try {
      const auto bytes = place.part.dataset.encoded->Read(place.index, packed.bytes);
      std::optional<std::vector<uint8_t>> smaller = ShrinkImage(bytes, NameOf(place), shrink);
      if (smaller) {
        packed.bytes = std::move(*smaller);
      } else if (bytes.data() != packed.bytes.data()) {
        packed.bytes.assign(bytes.begin(), bytes.end());
      }
    } catch (const Error& error) {
      if (!options_.skip_unreadable) throw;
      packed.problem = error.what();
    }
    return packed;
  }

  void Write(int64_t item, const Packed& packed) {
    const Place place = Find(item);
    if (!packed.problem.empty()) {
      fmt::print(stderr, "left out: {}\n", packed.problem);
      writer_.LeaveOut(place.index < 0 ? "" : NameOf(place), packed.problem, place.part.split);
    } else {
      writer_.Append({.bytes = std::as_bytes(std::span(packed.bytes)),
                      .label = place.part.dataset.labels[static_cast<size_t>(place.index)],
                      .split = place.part.split,
                      .name = NameOf(place)});
    }
    if (MonotonicSeconds() - reported_at_ < kSecondsBetweenReports) return;
    reported_at_ = MonotonicSeconds();
    fmt::print("{} of {} images, {:.1f} MiB\n", item + 1, total_,
               static_cast<double>(writer_.bytes()) / (1 << 20));
    std::fflush(stdout);
  }

  const PrepareOptions& options_;
  const std::vector<Part>& parts_;
  PackedWriter& writer_;
  int64_t total_ = 0;
  double reported_at_ = MonotonicSeconds();
};

}  // namespace

std::string PrepareImageFolder(const PrepareOptions& options) {
  const std::vector<Part> parts = ListParts(options);
  PackedWriter writer(options.destination, DescribeSource(options, parts), "image-folder",
                      parts.front().dataset.class_names);
  if (writer.left_out() > 0 && !options.skip_unreadable) {
    throw Error(fmt::format("an earlier call has left {} images out of {}", writer.left_out(),
                            options.destination),
                fmt::format("go on by --on-bad-image skip, or remove {}.part to begin anew",
                            options.destination));
  }
  const int64_t before = writer.position();
  FolderPacker(options, parts, writer).Run();
  const int64_t images = writer.position() - writer.left_out();
  if (images == 0) {
    throw Error(fmt::format("none of the images of {} can be read", options.source),
                "thinwire info --dataset image-folder says why");
  }
  writer.Commit();
  std::string text = fmt::format("Packed {} images in {} classes of {} into {}, {:.1f} MiB", images,
                                 parts.front().dataset.classes, options.source, options.destination,
                                 static_cast<double>(writer.bytes()) / (1 << 20));
  if (writer.left_out() > 0) text += fmt::format(", and left out {}", writer.left_out());
  if (before > 0) text += fmt::format("; {} were there already", before);
  return text;
}

}  // namespace thinwire
