#include "datasets/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "datasets/data_files.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr int64_t kChannels = 3;

class ImageFiles final : public EncodedImages {
 public:
  explicit ImageFiles(std::vector<std::string> paths) : paths_(std::move(paths)) {}
  int64_t count() const override { return std::ssize(paths_); }
  std::string name(int64_t index) const override { return paths_[static_cast<size_t>(index)]; }
  std::span<const uint8_t> Read(int64_t index, std::vector<uint8_t>& buffer) const override {
    buffer = ReadDataFile(paths_[static_cast<size_t>(index)], kMaxFileBytes);
    return buffer;
  }

 private:
  std::vector<std::string> paths_;
};

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// Lists what is below `folder`; links to folders are not followed, which could lead in circles.
void ListClass(const fs::path& folder, int32_t label, ImageFolderListing& listing) {
  std::error_code code;
  std::vector<fs::path> folders = {folder};
  std::vector<std::string> paths;
  bool readable = true;
  while (!folders.empty()) {
    const fs::path current = std::move(folders.back());
    folders.pop_back();
    fs::directory_iterator entry(current, code);
    for (; !code && entry != fs::directory_iterator(); entry.increment(code)) {
      const fs::path& path = entry->path();
      if (IsHidden(path)) continue;
      std::error_code unknown;
      const fs::file_status status = fs::status(path, unknown);
      if (fs::is_regular_file(status)) {
        paths.push_back(path.string());
      } else if (!fs::is_directory(status)) {
        listing.problems.push_back(fmt::format("{} is {}", path.string(),
                                               fs::is_symlink(fs::symlink_status(path, unknown))
                                                   ? "a link that leads nowhere"
                                                   : "no plain file"));
      } else if (fs::is_symlink(fs::symlink_status(path, unknown))) {
        listing.problems.push_back(
            fmt::format("{} is a link to a folder inside of a class", path.string()));
      } else {
        folders.push_back(path);
      }
    }
    if (code) {
      listing.problems.push_back(
          fmt::format("the folder {} cannot be read: {}", current.string(), code.message()));
      code.clear();
      readable = false;
    }
  }
  if (paths.empty() && readable) {
    listing.problems.push_back(fmt::format("the class folder {} holds no files", folder.string()));
  }
  std::sort(paths.begin(), paths.end());
  for (std::string& path : paths) listing.files.push_back({std::move(path), label});
}

void RequireFolder(const std::string& data_dir) {
  std::error_code code;
  if (fs::is_directory(data_dir, code)) return;
  throw Error(fmt::format("the data folder '{}' is not there", data_dir),
              "name an existing folder with --data-dir", Error::Kind::kUsage);
}

/// The class folders of `root`, sorted.
std::vector<std::string> ClassNames(const std::string& root) {
  std::vector<std::string> classes;
  std::error_code code;
  fs::directory_iterator entry(root, code);
  for (; !code && entry != fs::directory_iterator(); entry.increment(code)) {
    std::error_code unknown;
    if (IsHidden(entry->path())) continue;
    if (fs::is_directory(fs::status(entry->path(), unknown))) {
      classes.push_back(entry->path().filename().string());
    }
  }
  if (code) {
    throw Error(fmt::format("cannot list the folder {}: {}", root, code.message()),
                "check --data-dir and the folder's permissions");
  }
  if (classes.empty()) {
    throw Error(fmt::format("the folder {} has no class folders", root),
                "name a folder with a folder of images for each class, or with train and val of "
                "that kind, with --data-dir");
  }
  std::sort(classes.begin(), classes.end());
  return classes;
}

/// Numbers the files' classes as in `classes`, and drops those of others.
void UseClasses(const std::vector<std::string>& classes, ImageFolderListing& listing) {
  std::vector<int32_t> labels;
  for (const std::string& name : listing.classes) {
    const auto found = std::lower_bound(classes.begin(), classes.end(), name);
    const bool known = found != classes.end() && *found == name;
    labels.push_back(known ? static_cast<int32_t>(found - classes.begin()) : -1);
    if (!known) {
      listing.problems.push_back(
          fmt::format("the class {} of {} is not among the training images", name, listing.root));
    }
  }
  for (auto& file : listing.files) file.label = labels[static_cast<size_t>(file.label)];
  std::erase_if(listing.files, [](const auto& file) { return file.label < 0; });
  listing.classes = classes;
}

}  // namespace

ImageFolderListing ListImageFolder(const std::string& root) {
  ImageFolderListing listing{.root = root, .classes = ClassNames(root)};
  for (size_t i = 0; i < listing.classes.size(); ++i) {
    ListClass(fs::path(root) / listing.classes[i], static_cast<int32_t>(i), listing);
  }
  return listing;
}

std::string ImageFolderOf(const std::string& data_dir, Split split) {
  RequireFolder(data_dir);
  std::error_code code;
  const auto folder = [&](const char* name) { return (fs::path(data_dir) / name).string(); };
  const std::string wanted = folder(split == Split::kTrain ? "train" : "val");
  const std::string other = folder(split == Split::kTrain ? "val" : "train");
  if (fs::is_directory(wanted, code)) return wanted;
  if (!fs::is_directory(other, code)) return data_dir;
  throw Error(fmt::format("the data folder {} has {}, but not {}", data_dir, other, wanted),
              "put the other class folders there");
}

Dataset MakeImageFolderDataset(const ImageFolderListing& listing, const ImageOptions& options) {
  Dataset dataset{.name = "image-folder",
                  .count = std::ssize(listing.files),
                  .height = options.size,
                  .width = options.size,
                  .channels = kChannels,
                  .classes = std::ssize(listing.classes),
                  .class_names = listing.classes,
                  .image_options = options,
                  .left_out = listing.problems};
  std::vector<std::string> paths;
  for (const auto& file : listing.files) {
    paths.push_back(file.path);
    dataset.labels.push_back(file.label);
  }
  dataset.encoded = std::make_shared<ImageFiles>(std::move(paths));
  return dataset;
}

Dataset LoadImageFolder(const std::string& data_dir, const ImageOptions& options, Split split) {
  const std::string root = ImageFolderOf(data_dir, split);
  ImageFolderListing listing = ListImageFolder(root);
  const std::string training = (fs::path(data_dir) / "train").string();
  std::error_code code;
  if (split == Split::kTest && fs::is_directory(training, code)) {
    UseClasses(ClassNames(training), listing);
  }
  if (!options.skip_unreadable && !listing.problems.empty()) {
    throw Error(fmt::format("cannot use all images of {}: {}", root, listing.problems.front()),
                "put it right, or go on without it by --on-bad-image skip");
  }
  return MakeImageFolderDataset(listing, options);
}

}  // namespace thinwire
