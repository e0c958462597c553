// A compression input, vector by vector.
#pragma once

#include "kernels/cpu/isa.h"
#include "kernels/cpu/isa/vector.h"

namespace thinwire::cpu::THINWIRE_ISA {

/// `first` in lanes below `count`, `second` in the others.
template <typename V>
inline V FirstLanes(int64_t count, V first, V second) {
  using T = ElementOf<V>;
  if constexpr (sizeof(V) == sizeof(T)) {
    return count > 0 ? first : second;
  } else {
    IntegersOf<T> lanes{};
    for (int i = 0; i < static_cast<int>(sizeof(V) / sizeof(T)); ++i) lanes[i] = i;
    return lanes < static_cast<IntegerOf<T>>(count) ? first : second;
  }
}

/// The elements of V from `i` on.
template <typename V>
inline V InputAt(const InputArguments<ElementOf<V>>& a, int64_t i) {
  V value = a.gradient_scale * Load<V>(a.values + i);
  if (i < a.decayed_size) {
    constexpr int64_t lanes = sizeof(V) / sizeof(ElementOf<V>);
    const V decayed = MultiplyAdd(a.weight_decay - V{}, Load<V>(a.parameters + i), value);
    value = i + lanes <= a.decayed_size ? decayed : FirstLanes(a.decayed_size - i, decayed, value);
  }
  value = a.factor * value;
  if (a.added == nullptr) return value;
  return MultiplyAdd(a.added_factor - V{}, Load<V>(a.added + i), value);
}

}  // namespace thinwire::cpu::THINWIRE_ISA
