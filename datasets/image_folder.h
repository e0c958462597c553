// A folder of class folders: ROOT/CLASS/… with images of any name and kind. Classes are numbered in
// the order of their names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace thinwire {

/// A folder's files: those anywhere below its class folders whose names do not begin with a dot.
/// Nothing is opened.
struct ImageFolderListing {
  struct File {
    std::string path;
    int32_t label;
  };
  std::string root = {};
  std::vector<std::string> classes = {};
  std::vector<File> files = {};            // by class, then path
  std::vector<std::string> problems = {};  // dangling links, unreadable or empty folders
};

/// @throws Error if `root` is no folder that can be read, or has no class folders.
ImageFolderListing ListImageFolder(const std::string& root);

/// Where a split's class folders are: data_dir/train and data_dir/val; or data_dir itself for both
/// where it has neither. @throws Error if it has only the other one.
std::string ImageFolderOf(const std::string& data_dir, Split split);

/// Lists a split. The classes are those of the training images, and of all images where there are
/// no others. What cannot be read, and classes that training lacks, are errors, or, with
/// skip_unreadable, left out.
Dataset LoadImageFolder(const std::string& data_dir, const ImageOptions& options, Split split);

/// A listing as a data set.
Dataset MakeImageFolderDataset(const ImageFolderListing& listing, const ImageOptions& options);

}  // namespace thinwire
