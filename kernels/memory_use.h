// Who holds a device's memory, and what is said when there is none left.
#pragma once

#include <array>
#include <cstdint>
#include <numeric>
#include <string>

#include "kernels/error.h"

namespace thinwire {

/// What device memory is held for.
enum class MemoryUse : uint8_t {
  kOther,  // what operations keep
  kParameters,
  kOptimizer,
  kMessages,
  kActivations,
  kWorkspace,
};
inline constexpr size_t kMemoryUses = 6;

/// Bytes of a device that are held for each use.
struct HeldMemory {
  std::array<int64_t, kMemoryUses> bytes{};

  int64_t of(MemoryUse use) const { return bytes[static_cast<size_t>(use)]; }
  int64_t total() const { return std::accumulate(bytes.begin(), bytes.end(), int64_t{0}); }
};

/// A device has no memory left.
class OutOfMemory : public Error {
 public:
  /// What was asked for, and how things stood then, in bytes.
  struct Facts {
    std::string device;  // "CUDA device 0"
    MemoryUse use = MemoryUse::kOther;
    int64_t asked = 0, free = 0, total = 0;
    HeldMemory held;
  };

  explicit OutOfMemory(const Facts& facts,
                       const std::string& remedy = "use a smaller batch or model");
  const Facts& facts() const { return facts_; }

 private:
  Facts facts_;
};

}  // namespace thinwire
