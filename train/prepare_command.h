// thinwire prepare: a data set as one packed file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datasets/image_decoder.h"

namespace thinwire {

struct PrepareOptions {
  std::string dataset = {};      // imagenet, cifar10, cifar100 or mnist
  std::string source = {};       // its folder
  std::string destination = {};  // FILE
  bool overwrite = false;        // what stands there
  // Not of imagenet:
  bool download = false;      // what the folder lacks
  std::string base_url = {};  // where from; empty: the well-known place
  // Of imagenet alone:
  bool copy = false;       // files' bytes as they are
  int64_t max_side = 500;  // else images whose longer side is larger are made smaller,
  int64_t quality = 90;    // and become JPEGs of this quality
  int64_t max_pixels = kDefaultMaxPixels;
  bool skip_unreadable = false;
  int64_t threads = 0;  // 0: one for each processor
};

/// Reads what stands behind "thinwire prepare". @throws Error (usage) naming what is wrong.
PrepareOptions ParsePrepareArguments(const std::vector<std::string>& arguments);

/// The flags, as a part of the command's help.
std::string PrepareFlagsHelp();

/// Packs the data set, which it fetches first if that is wanted. The file appears when it is whole;
/// called again after a kill, this goes on, and the file becomes the same.
/// @return What was done, for people.
/// @throws Error naming the data set's file or the destination.
std::string PrepareDataset(const PrepareOptions& options);

}  // namespace thinwire
