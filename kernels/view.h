// Data types and typed, non-owning ranges of device memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thinwire {

enum class DataType : uint8_t { kFloat32, kFloat64, kBFloat16, kInt32, kUint8 };

/// Bytes of one element.
constexpr int64_t SizeOf(DataType type) {
  switch (type) {
    case DataType::kFloat64: return 8;
    case DataType::kFloat32:
    case DataType::kInt32: return 4;
    case DataType::kBFloat16: return 2;
    case DataType::kUint8: return 1;
  }
  return 0;
}

/// A contiguous, read-only range of device memory that somebody else owns. A default-constructed
/// view is empty and stands for "absent" where an operand is optional.
struct ConstView {
  const void* data = nullptr;
  int64_t size = 0;  // in elements
  DataType type = DataType::kFloat32;

  template <typename T>
  const T* as() const { return static_cast<const T*>(data); }
  explicit operator bool() const { return data != nullptr; }
  ConstView Slice(int64_t offset, int64_t count) const {
    return {static_cast<const std::byte*>(data) + offset * SizeOf(type), count, type};
  }
};

/// As ConstView, but writable.
struct View {
  void* data = nullptr;
  int64_t size = 0;  // in elements
  DataType type = DataType::kFloat32;

  template <typename T>
  T* as() const { return static_cast<T*>(data); }
  explicit operator bool() const { return data != nullptr; }
  View Slice(int64_t offset, int64_t count) const {
    return {static_cast<std::byte*>(data) + offset * SizeOf(type), count, type};
  }
  operator ConstView() const { return {data, size, type}; }
};

}  // namespace thinwire
