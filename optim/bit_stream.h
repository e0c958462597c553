// Numbers of any few bits in bytes: bit i of a stream is bit i % 8 of byte i / 8.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace thinwire {

static_assert(std::endian::native == std::endian::little, "words are little-endian");

/// Appends bits to bytes. Until Finish the bytes hold some spare ones at their end.
class BitWriter {
 public:
  explicit BitWriter(std::vector<std::byte>& bytes) : bytes_(bytes), size_(bytes.size()) {}

  /// Makes room for that many bits; to be called before writing them.
  void Reserve(int64_t bits) { bytes_.resize(size_ + static_cast<size_t>(bits) / 8 + 16); }
  /// `count` <= 56 bits, of which `bits` has no higher ones.
  void Write(uint64_t bits, int count) {
    word_ |= bits << used_;
    std::memcpy(bytes_.data() + size_, &word_, sizeof(word_));
    used_ += count;
    size_ += static_cast<size_t>(used_) / 8;
    word_ >>= used_ & ~7;
    used_ &= 7;
  }
  /// `count` zeros.
  void WriteZeros(int64_t count) {
    for (; count > 56; count -= 56) Write(0, 56);
    Write(0, static_cast<int>(count));
  }
  /// Fills the last byte with zeros and drops the spare ones.
  void Finish() { bytes_.resize(size_ + (used_ > 0 ? 1 : 0)); }

 private:
  std::vector<std::byte>& bytes_;
  size_t size_;  // whole bytes written
  uint64_t word_ = 0;
  int used_ = 0;  // bits of word_, fewer than 8 between calls
};

/// Reads bits; past the end there are zeros.
class BitReader {
 public:
  explicit BitReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// The next bits from the lowest up, 57 of them at least.
  uint64_t Peek() const {
    const size_t first = static_cast<size_t>(position_ / 8);
    uint64_t word = 0;
    if (first + sizeof(word) <= bytes_.size()) {
      std::memcpy(&word, bytes_.data() + first, sizeof(word));
    } else if (first < bytes_.size()) {
      std::memcpy(&word, bytes_.data() + first, bytes_.size() - first);
    }
    return word >> (position_ % 8);
  }
  void Skip(int64_t bits) { position_ += bits; }
  /// `count` <= 56 bits.
  uint64_t Read(int count) {
    const uint64_t bits = Peek() & ((uint64_t{1} << count) - 1);
    Skip(count);
    return bits;
  }
  /// Bits not read yet; negative after reading past the end.
  int64_t remaining() const { return 8 * static_cast<int64_t>(bytes_.size()) - position_; }

 private:
  std::span<const std::byte> bytes_;
  int64_t position_ = 0;
};

}  // namespace thinwire
