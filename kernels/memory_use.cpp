#include "kernels/memory_use.h"

#include <fmt/format.h>

namespace thinwire {
namespace {

const char* Name(MemoryUse use) {
  switch (use) {
    case MemoryUse::kOther:
      return "other buffers";
    case MemoryUse::kParameters:
      return "parameters and gradients";
    case MemoryUse::kOptimizer:
      return "optimizer state";
    case MemoryUse::kMessages:
      return "messages";
    case MemoryUse::kActivations:
      return "activations";
    case MemoryUse::kWorkspace:
      return "workspace";
  }
  return "";
}

std::string Amount(int64_t bytes) {
  constexpr int64_t kMebibyte = 1 << 20;
  if (bytes < kMebibyte) return fmt::format("{} bytes", bytes);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / kMebibyte);
}

std::string Describe(const OutOfMemory::Facts& facts) {
  std::string held;
  for (size_t i = 0; i < kMemoryUses; ++i) {
    if (facts.held.bytes[i] == 0) continue;
    held += fmt::format("{}{} for {}", held.empty() ? "" : ", ", Amount(facts.held.bytes[i]),
                        Name(static_cast<MemoryUse>(i)));
  }
  return fmt::format("out of memory on {}: asked for {} for {}; {} of {} are free, and held are {}",
                     facts.device, Amount(facts.asked), Name(facts.use), Amount(facts.free),
                     Amount(facts.total), held.empty() ? "none" : held);
}

}  // namespace

OutOfMemory::OutOfMemory(const Facts& facts, const std::string& remedy)
    : Error(Describe(facts), remedy), facts_(facts) {}

}  // namespace thinwire
