// Reads bytes in order that may be packed by gzip, bzip2 or xz.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace thinwire {

/// Unpacks a piece at a time, so that a small input that unpacks to very much costs no more memory
/// than its reader asks for.
class Unpacker {
 public:
  virtual ~Unpacker() = default;
  /// Fills `output` as far as bytes are left, and says how many. @throws Error if what is packed is
  /// corrupt or truncated, or is followed by something else.
  virtual int64_t Read(std::span<uint8_t> output) = 0;
};

/// How the content begins decides how it is packed; bytes that begin otherwise are given out as
/// they are. Several packed streams one after another count as one.
/// @param bytes Must outlive the unpacker.
/// @param name For messages.
std::unique_ptr<Unpacker> MakeUnpacker(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace thinwire
