// Rows of bfloat16 to float32 and back, on one thread.
#pragma once

#include <cstdint>

#include "kernels/bfloat16.h"

namespace thinwire::cpu {

inline void Widen(const BFloat16* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = ToFloat(from[i]);
}

inline void Round(const float* from, BFloat16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = ToBFloat16(from[i]);
}

}  // namespace thinwire::cpu
