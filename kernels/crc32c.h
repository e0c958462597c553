// CRC-32C (Castagnoli), the checksum of iSCSI (RFC 3720), checkpoints and TFRecord files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace thinwire {

/// The checksum of `bytes`, or, given the checksum of what came before, of both together:
/// Crc32c(b, Crc32c(a)) is that of a followed by b. Uses the processor's instruction where it has
/// one.
uint32_t Crc32c(std::span<const std::byte> bytes, uint32_t previous = 0);

/// The same by tables, on any processor.
uint32_t Crc32cPortable(std::span<const std::byte> bytes, uint32_t previous = 0);

}  // namespace thinwire
