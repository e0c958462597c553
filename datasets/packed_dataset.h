// Packed data sets as others.
#pragma once

#include <string>

#include "datasets/dataset.h"

namespace thinwire {

/// One split of a packed data set of images of one size, kept as bare pixels.
/// @throws Error naming the file, if it is damaged or holds other images.
Dataset LoadPacked(const std::string& path, Split split);

/// The data set that was packed: its name among DatasetNames(). @throws Error naming the file.
std::string PackedKind(const std::string& path);

}  // namespace thinwire
