// Turns a layer's or tensor's name into a stream of random numbers.
#pragma once

#include <cstdint>
#include <string_view>

namespace thinwire {

/// FNV-1a, 64 bits.
constexpr uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

}  // namespace thinwire
