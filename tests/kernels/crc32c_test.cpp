#include "kernels/crc32c.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

#include "kernels/random.h"

namespace thinwire {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The definition, bit by bit.
uint32_t BitwiseCrc32c(std::span<const std::byte> bytes) {
  uint32_t crc = ~0u;
  for (const std::byte byte : bytes) {
    crc ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
  }
  return ~crc;
}

// RFC 3720, section B.4, and the usual check value.
TEST(Crc32c, KnownValues) {
  std::vector<std::byte> bytes(32);
  EXPECT_EQ(Crc32c(Bytes("123456789")), 0xE3069283u);
  EXPECT_EQ(Crc32c(bytes), 0x8A9136AAu);
  for (auto& byte : bytes) byte = std::byte{0xFF};
  EXPECT_EQ(Crc32c(bytes), 0x62A8AB43u);
  for (size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
  EXPECT_EQ(Crc32c(bytes), 0x46DD794Eu);
}

TEST(Crc32c, AllSizesAndStartsOnBothPaths) {
  std::vector<std::byte> bytes(150);
  RandomStream random(1, 0);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random.Next());
  for (size_t start = 0; start < 9; ++start) {
    for (size_t size = 0; size <= 130; ++size) {
      const auto part = std::span(bytes).subspan(start, size);
      ASSERT_EQ(Crc32c(part), BitwiseCrc32c(part)) << start << ' ' << size;
      ASSERT_EQ(Crc32cPortable(part), BitwiseCrc32c(part)) << start << ' ' << size;
    }
  }
}

TEST(Crc32c, GoesOnFromAPart) {
  for (size_t cut = 0; cut <= 9; ++cut) {
    const std::string_view text = "123456789";
    const auto front = Bytes(text.substr(0, cut)), back = Bytes(text.substr(cut));
    EXPECT_EQ(Crc32c(back, Crc32c(front)), 0xE3069283u);
    EXPECT_EQ(Crc32cPortable(back, Crc32cPortable(front)), 0xE3069283u);
  }
}

}  // namespace
}  // namespace thinwire
