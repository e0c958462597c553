// Rising indices in few bits: Rice codes of their gaps.
//
// The first index is coded as its distance from the range's begin, each further one as the number
// of indices that it leaps over, g = index - previous - 1. Gaps come in blocks of 128 (the last is
// shorter). A block is a 5-bit width w, then for each gap g >> w zeros, a one, and the low w bits
// of g. Of indices chosen uniformly this takes within 2 % of the entropy; blocks follow their
// clusters. (Rice and Plaunt, "Adaptive variable-length coding for efficient compression of
// spacecraft television data", 1971.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/compression.h"

namespace thinwire {

/// Appends the code of `indices`, filled up with zeros to a whole byte.
/// @pre indices rise strictly and lie within the range, which begins at 0 or later.
void EncodeGaps(std::span<const int32_t> indices, Range range, std::vector<std::byte>& bytes);

/// Most bytes that EncodeGaps appends for `count` indices.
int64_t MaxGapBytes(int64_t count, Range range);

/// What DecodeGaps found wrong.
enum class GapFault : uint8_t {
  kNone,
  kTooShort,  // the bytes end within the code
  kTooLong,   // bytes follow it, or a bit is set that should fill up the last byte
  kBeyond,    // an index lies beyond the range
};

/// Fills `indices` from exactly `bytes`, which may be any: with kNone, indices rise strictly and
/// lie within the range.
GapFault DecodeGaps(std::span<const std::byte> bytes, Range range, std::span<int32_t> indices);

}  // namespace thinwire
