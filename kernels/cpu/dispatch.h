// From a data type at run time to one at compile time.
#pragma once

#include <fmt/format.h>

#include "kernels/error.h"
#include "kernels/view.h"

namespace thinwire::cpu {

/// Calls function.operator()<float>() or <double>() and returns its result.
template <typename Function>
auto WithFloatingType(DataType type, const Function& function) {
  switch (type) {
    case DataType::kFloat32:
      return function.template operator()<float>();
    case DataType::kFloat64:
      return function.template operator()<double>();
    default:
      throw Error(fmt::format("a pass over floating-point numbers got data type {}",
                              static_cast<int>(type)),
                  "this is an error in thinwire; please report it");
  }
}

}  // namespace thinwire::cpu
