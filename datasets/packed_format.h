// A packed data set: many images in one file, each as its own file held it or as bare pixels, with
// an index. Little-endian.
//
//   bytes 0 to 63   PackedHeader
//   images          one after another, without gaps
//   index           what kind of data set it is (cifar10), its length (uint32) before it;
//                   the classes: for each, its name's length (uint32) and the name;
//                   then for each image a PackedEntry and its name;
//                   then for each thing that was left out a PackedLeftOut, its name and the reason
//
// The file is a function of what was packed and how alone: packing the same again gives the same
// bytes. It appears under its name when it is whole (train/packed_writer.h).
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "datasets/dataset.h"

namespace thinwire {

inline constexpr std::array<char, 16> kPackedMagic = {'t', 'h', 'i', 'n', 'w', 'i', 'r', 'e',
                                                      ' ', 'p', 'a', 'c', 'k', 'e', 'd', '1'};

struct PackedHeader {
  std::array<char, 16> magic = kPackedMagic;
  uint64_t images = 0;
  uint64_t left_out = 0;
  uint64_t index_offset = 0;  // where the images end, too
  uint64_t index_bytes = 0;
  uint32_t classes = 0;
  uint32_t index_checksum = 0;  // CRC-32C, as all here
  uint32_t reserved = 0;
  uint32_t checksum = 0;  // of the 60 bytes before it
};
static_assert(sizeof(PackedHeader) == 64 && std::is_trivially_copyable_v<PackedHeader>);

/// What an image is for; both where the data set has no test images of its own.
enum class PackedSplit : uint8_t { kTrain = 0, kTest = 1, kBoth = 2 };

inline PackedSplit PackedSplitOf(Split split) {
  return split == Split::kTrain ? PackedSplit::kTrain : PackedSplit::kTest;
}
inline bool BelongsTo(PackedSplit packed, Split split) {
  return packed == PackedSplit::kBoth || packed == PackedSplitOf(split);
}

struct PackedEntry {
  uint64_t offset = 0;  // in the file
  uint32_t bytes = 0;
  int32_t label = 0;  // in [0, classes)
  uint32_t checksum = 0;
  uint32_t name_bytes = 0;
  /// Of bare pixels, [height, width, channels] bytes; 0 where the content says what it is.
  uint16_t height = 0, width = 0, channels = 0;
  PackedSplit split = PackedSplit::kTrain;
  uint8_t reserved = 0;
};
static_assert(sizeof(PackedEntry) == 32 && std::is_trivially_copyable_v<PackedEntry>);

struct PackedLeftOut {
  uint32_t name_bytes = 0, reason_bytes = 0;
  PackedSplit split = PackedSplit::kTrain;
  std::array<uint8_t, 3> reserved = {};
};
static_assert(sizeof(PackedLeftOut) == 12 && std::is_trivially_copyable_v<PackedLeftOut>);

}  // namespace thinwire
