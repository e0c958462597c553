// CIFAR-10 and CIFAR-100 in their binary version. A record is the label (CIFAR-100: a coarse label,
// then the fine label, which is the one used) and the red, green and blue 32x32 planes. Layout:
// https://www.cs.toronto.edu/~kriz/cifar.html
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace thinwire {

enum class CifarKind { kCifar10, kCifar100 };

inline constexpr int64_t kCifarSize = 32;  // height and width
inline constexpr int64_t kCifarChannels = 3;
inline constexpr int64_t kCifarPixelBytes = kCifarSize * kCifarSize * kCifarChannels;

constexpr int64_t CifarClasses(CifarKind kind) { return kind == CifarKind::kCifar10 ? 10 : 100; }
/// 3,073 or 3,074.
constexpr int64_t CifarRecordBytes(CifarKind kind) {
  return kCifarPixelBytes + (kind == CifarKind::kCifar10 ? 1 : 2);
}

/// An empty data set of the kind's shape, for ParseCifar to append to.
Dataset EmptyCifar(CifarKind kind);

/// Appends a file's records to `dataset`, its planes interleaved to [height, width, channels].
/// @param name For messages.
/// @throws Error naming the file and what is wrong with it, with `dataset` unchanged.
void ParseCifar(std::span<const uint8_t> bytes, const std::string& name, CifarKind kind,
                Dataset& dataset);

/// Reads one split from data_dir or from its usual subfolder (cifar-10-batches-bin,
/// cifar-100-binary): the standard names, or `files` in their order.
Dataset LoadCifar(const std::string& data_dir, const std::vector<std::string>& files,
                  CifarKind kind, Split split);

}  // namespace thinwire
