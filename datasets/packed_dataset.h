// Packed data sets as others.
#pragma once

#include <memory>
#include <string>

#include "datasets/dataset.h"
#include "datasets/packed_images.h"

namespace thinwire {

/// One split of a packed data set: images of one size kept as bare pixels, or encoded ones, which
/// stay in the file until they are asked for. What was left out when it was packed is in left_out.
/// @throws Error naming the file, if it is damaged or holds other images.
Dataset LoadPacked(const std::string& path, const ImageOptions& options, Split split);

/// The same of a file that is open.
Dataset MakePackedDataset(std::shared_ptr<const PackedImages> images, const ImageOptions& options,
                          Split split);

/// The data set that was packed: its name among DatasetNames(). Looks at the file's first bytes and
/// at this name alone. @throws Error naming the file.
std::string PackedKind(const std::string& path);

}  // namespace thinwire
