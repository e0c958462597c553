// Reads bytes in order that may be compressed by gzip.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace thinwire {

/// Gives out plain bytes as they are, and unpacks those that begin as gzip does (RFC 1952), also
/// several members one after another. Never holds more than one buffer of unpacked bytes, so a
/// small input that unpacks to very much costs no more than its reader asks for.
class ByteReader {
 public:
  /// `bytes` must outlive the reader. @param name For messages.
  ByteReader(std::span<const uint8_t> bytes, std::string name);
  ~ByteReader();
  ByteReader(const ByteReader&) = delete;
  ByteReader& operator=(const ByteReader&) = delete;

  /// Fills `output` as far as bytes are left, and says how many. @throws Error if what is
  /// compressed is corrupt or truncated, or is followed by something else.
  int64_t Read(std::span<uint8_t> output);

  /// No more than so many bytes can be left to read.
  int64_t max_remaining() const;

 private:
  struct Inflater;
  std::span<const uint8_t> bytes_;  // what is left
  std::string name_;
  std::unique_ptr<Inflater> inflater_;  // none: plain bytes
};

}  // namespace thinwire
