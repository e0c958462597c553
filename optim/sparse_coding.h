// The message of a sparse vector, as Top-K sends it: k indices, rising, and the values there.
//
// Layout: k (uint32); the indices as int32 words, or packed (optim/gap_coding.h); the values as
// they are, or in 16 bits. Little-endian, without padding. All memory here is host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/compression.h"
#include "kernels/view.h"

namespace thinwire {

enum class IndexCoding : uint8_t {
  kPlain,   // 32 bits an index
  kPacked,  // Rice codes of the gaps
  kNone,    // not sent, since the receiver knows them: Rand-K
};

/// kFull: as the vector's own type, float32 or float64.
enum class ValueType : uint8_t { kFull, kBF16, kF16 };

/// What sender and receiver agree on beforehand.
struct SparseFormat {
  IndexCoding indices = IndexCoding::kPlain;
  ValueType values = ValueType::kFull;
};

/// Rounds float32 or float64 values to what a receiver will decode: to the nearest, ties to even,
/// of too large ones to the largest finite number. Infinities and NaN stay.
void RoundValues(ValueType type, View values);

/// Appends a message to `message`; its bytes are what it costs on the wire. Values are rounded as
/// by RoundValues.
/// @pre indices (int32) rise strictly and lie within the range.
void EncodeSparse(ConstView indices, ConstView values, Range range, SparseFormat format,
                  std::vector<std::byte>& message);

/// Most bytes of a message of `count` values out of `range`, of a vector of `type`.
int64_t MaxSparseBytes(int64_t count, Range range, SparseFormat format, DataType type);

/// Decodes a message, which may be any bytes: every size is checked, indices rise strictly and lie
/// within the range (of kNone they stay as they were), values are finite. `indices` (int32) and
/// `values` (float32 or float64) have room for as many as are allowed; of a refused message they
/// may hold a part.
/// @return How many there are.
/// @throws Error that says what is wrong with the message.
int64_t DecodeSparse(std::span<const std::byte> message, Range range, SparseFormat format,
                     View indices, View values);

}  // namespace thinwire
