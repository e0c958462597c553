#include "optim/gap_coding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "optim/bit_stream.h"

namespace thinwire {
namespace {

constexpr int64_t kBlock = 128;
constexpr int kWidthBits = 5;

/// The best width for gaps of a geometric distribution of this mean: floor(log2(ln(2) * mean)).
int Width(uint64_t sum, int64_t count) {
  const uint64_t scaled = sum * 177 / (256 * static_cast<uint64_t>(count));
  return std::max(0, static_cast<int>(std::bit_width(scaled)) - 1);
}

}  // namespace

void EncodeGaps(std::span<const int32_t> indices, Range range, std::vector<std::byte>& bytes) {
  BitWriter writer(bytes);
  std::array<uint32_t, kBlock> gaps;
  int64_t next = range.begin;
  for (size_t first = 0; first < indices.size(); first += kBlock) {
    const auto block = indices.subspan(first, std::min<size_t>(kBlock, indices.size() - first));
    const int64_t count = std::ssize(block), start = next;
    for (int64_t i = 0; i < count; ++i) {
      gaps[i] = static_cast<uint32_t>(block[i] - next);
      next = int64_t{block[i]} + 1;
    }
    const int width = Width(static_cast<uint64_t>(next - start - count), count);
    int64_t zeros = 0;
    for (int64_t i = 0; i < count; ++i) zeros += gaps[i] >> width;
    writer.Reserve(kWidthBits + zeros + count * (1 + width));
    writer.Write(static_cast<uint64_t>(width), kWidthBits);
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t low = gaps[i] & ((uint32_t{1} << width) - 1);
      const int64_t quotient = gaps[i] >> width;
      // One write for nearly all: at most 24 zeros, a one, 31 low bits.
      if (quotient > 24) writer.WriteZeros(quotient);
      const int zeros_left = quotient > 24 ? 0 : static_cast<int>(quotient);
      writer.Write((low << 1 | 1) << zeros_left, zeros_left + 1 + width);
    }
  }
  writer.Finish();
}

int64_t MaxGapBytes(int64_t count, Range range) {
  if (count == 0) return 0;
  // With m the mean distance of a block's indices, w <= log2(ln(2) * m) and at most 2^-w * m zeros
  // a gap make less than log2(m) + 2.4 bits a gap; log2 is concave, so equal blocks take most.
  const double mean = static_cast<double>(range.size()) / static_cast<double>(count);
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  const double bits = static_cast<double>(count) * (std::log2(mean) + 2.4) +
                      static_cast<double>(kWidthBits * blocks);
  return static_cast<int64_t>(bits / 8) + 1;
}

GapFault DecodeGaps(std::span<const std::byte> bytes, Range range, std::span<int32_t> indices) {
  BitReader reader(bytes);
  int64_t next = range.begin;
  for (size_t first = 0; first < indices.size(); first += kBlock) {
    const int width = static_cast<int>(reader.Read(kWidthBits));
    const uint64_t low_mask = (uint64_t{1} << width) - 1;
    for (int32_t& index :
         indices.subspan(first, std::min<size_t>(kBlock, indices.size() - first))) {
      uint64_t word = reader.Peek();
      int64_t quotient = 0;
      while (word == 0) {  // 57 zeros or more, or the end
        if (reader.remaining() <= 57) return GapFault::kTooShort;
        reader.Skip(57);
        quotient += 57;
        word = reader.Peek();
      }
      const int zeros = std::countr_zero(word);
      quotient += zeros;
      if (quotient > range.size()) return GapFault::kBeyond;
      uint64_t low = word >> zeros >> 1;
      reader.Skip(zeros + 1);
      if (zeros + 1 + width > 57) low = reader.Peek();
      reader.Skip(width);
      next += quotient << width | static_cast<int64_t>(low & low_mask);
      if (next >= range.end)
        return reader.remaining() < 0 ? GapFault::kTooShort : GapFault::kBeyond;
      index = static_cast<int32_t>(next++);
    }
  }
  if (reader.remaining() < 0) return GapFault::kTooShort;
  return reader.remaining() >= 8 || reader.Peek() != 0 ? GapFault::kTooLong : GapFault::kNone;
}

}  // namespace thinwire
