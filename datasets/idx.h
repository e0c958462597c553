// Arrays of bytes in MNIST's idx format, plain or compressed by gzip: two zero bytes, the element
// type (8: unsigned byte), the number of dimensions, each dimension as big-endian 32 bits, and the
// elements, last dimension fastest. Layout: http://yann.lecun.com/exdb/mnist
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace thinwire {

struct IdxArray {
  std::vector<int64_t> dimensions;  // each at least 1
  std::vector<uint8_t> values;
};

/// Parses a whole file's bytes. Whether they are compressed is decided by their content. No more
/// memory is used than the array that the header speaks of, and that only if so much can be there.
/// @param name For messages.
/// @param dimensions How many the array must have: 1 for labels, 3 for grey images.
/// @throws Error naming the file and what is wrong with it.
IdxArray ParseIdx(std::span<const uint8_t> bytes, const std::string& name, int dimensions);

/// Images of [count, height, width] and labels of [count] as a data set of one channel.
/// @throws Error if the counts differ or a label is not below `classes`.
Dataset CombineIdx(IdxArray images, const IdxArray& labels, const std::string& images_name,
                   const std::string& labels_name, int64_t classes);

/// Reads MNIST, or another data set in its format with ten classes: the standard names in
/// data_dir, or `files`: the images, then the labels.
Dataset LoadMnist(const std::string& data_dir, const std::vector<std::string>& files, Split split);

}  // namespace thinwire
