#include "kernels/cpu/isa.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

namespace thinwire::cpu {

namespace portable {
const IsaKernels& Kernels();
}
namespace avx2 {
const IsaKernels& Kernels();
}
namespace avx512 {
const IsaKernels& Kernels();
}

namespace {

std::array<const IsaKernels*, 4> FindAvailable() {
  std::array<const IsaKernels*, 4> found{};
  size_t count = 0;
#if defined(THINWIRE_HAS_avx512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("bmi2")) {
    found[count++] = &avx512::Kernels();
  }
#endif
#if defined(THINWIRE_HAS_avx2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    found[count++] = &avx2::Kernels();
  }
#endif
  found[count++] = &portable::Kernels();
  return found;
}

const IsaKernels& Choose() {
  const char* wanted = std::getenv("THINWIRE_ISA");
  const IsaKernels* const* available = AvailableIsa();
  if (wanted != nullptr) {
    for (const IsaKernels* const* isa = available; *isa != nullptr; ++isa) {
      if (std::strcmp((*isa)->name, wanted) == 0) return **isa;
    }
  }
  return **available;
}

int64_t LastLevelCacheBytes() {
  constexpr int64_t usual = int64_t{32} << 20;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  const int64_t told = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return told > 0 ? std::min(told, usual) : usual;
#else
  return usual;
#endif
}

}  // namespace

const IsaKernels* const* AvailableIsa() {
  static const std::array<const IsaKernels*, 4> available = FindAvailable();
  return available.data();
}

const IsaKernels& Isa() {
  static const IsaKernels& chosen = Choose();
  return chosen;
}

bool ShouldStream(const void* output, int64_t bytes_touched) {
  static const int64_t cache_bytes = LastLevelCacheBytes();
  return reinterpret_cast<uintptr_t>(output) % 64 == 0 && bytes_touched > cache_bytes;
}

}  // namespace thinwire::cpu
