// Device memory that holds values from the start.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/device.h"

namespace thinwire::cuda {

/// A copy of a vector or span in device memory.
template <typename Values>
Buffer Upload(Device& device, const Values& values) {
  const auto bytes = std::as_bytes(std::span(values));
  Buffer buffer = device.Allocate(std::ssize(bytes));
  device.CopyFromHost(bytes.data(), buffer.view(DataType::kUint8));
  return buffer;
}

}  // namespace thinwire::cuda
