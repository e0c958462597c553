// The one source of device tests: typed over the backends that this build has.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/bfloat16.h"
#include "kernels/device.h"
#include "kernels/random.h"

namespace thinwire {

struct CpuBackend {
  static std::unique_ptr<Device> Make() { return MakeCpuDevice(2); }
};
struct CudaBackend {
  static std::unique_ptr<Device> Make() {
    return CudaDeviceCount() > 0 ? MakeCudaDevice(0) : nullptr;
  }
};
#if defined(THINWIRE_TEST_CUDA)
using Backends = ::testing::Types<CudaBackend>;
#else
using Backends = ::testing::Types<CpuBackend>;
#endif

inline constexpr const char* kNoGpu =
    "no GPU here, and no THINWIRE_GPU_TEST_LAUNCHER that simulates one";

/// The device of a test that is not typed: the GPU in a program for GPUs (null without one).
inline std::unique_ptr<Device> MakeTestDevice() {
#if defined(THINWIRE_TEST_CUDA)
  return CudaBackend::Make();
#else
  return MakeCpuDevice(1);
#endif
}

template <typename T>
constexpr DataType DataTypeOf();
template <>
constexpr DataType DataTypeOf<float>() {
  return DataType::kFloat32;
}
template <>
constexpr DataType DataTypeOf<double>() {
  return DataType::kFloat64;
}
template <>
constexpr DataType DataTypeOf<int32_t>() {
  return DataType::kInt32;
}
template <>
constexpr DataType DataTypeOf<uint8_t>() {
  return DataType::kUint8;
}

template <>
constexpr DataType DataTypeOf<BFloat16>() {
  return DataType::kBFloat16;
}

/// Device memory of a test, with a sentinel behind its end that must survive.
template <typename T>
class TestBuffer {
 public:
  static constexpr int64_t kSentinels = 16;

  /// `misalignment` elements are left free in front.
  TestBuffer(Device& device, const std::vector<T>& values, int64_t misalignment = 0)
      : device_(device), size_(static_cast<int64_t>(values.size())), offset_(misalignment) {
    buffer_ = device.Allocate((offset_ + size_ + kSentinels) * static_cast<int64_t>(sizeof(T)));
    std::vector<T> all(static_cast<size_t>(offset_ + size_ + kSentinels));
    std::memset(all.data(), 0x5A, all.size() * sizeof(T));
    std::copy(values.begin(), values.end(), all.begin() + offset_);
    device.CopyFromHost(all.data(),
                        buffer_.view(DataTypeOf<T>()).Slice(0, offset_ + size_ + kSentinels));
  }
  TestBuffer(Device& device, int64_t size, int64_t misalignment = 0)
      : TestBuffer(device, std::vector<T>(static_cast<size_t>(size), T{}), misalignment) {}

  View view() const { return buffer_.view(DataTypeOf<T>()).Slice(offset_, size_); }
  operator View() const { return view(); }
  operator ConstView() const { return view(); }

  /// Reads back, and checks that nothing outside [0, size) was written.
  std::vector<T> Read() const {
    std::vector<T> all(static_cast<size_t>(offset_ + size_ + kSentinels));
    device_.CopyToHost(buffer_.view(DataTypeOf<T>()).Slice(0, offset_ + size_ + kSentinels),
                       all.data());
    T sentinel;
    std::memset(&sentinel, 0x5A, sizeof(T));
    for (size_t i = 0; i < all.size(); ++i) {
      if (i >= static_cast<size_t>(offset_) && i < static_cast<size_t>(offset_ + size_)) continue;
      EXPECT_EQ(std::memcmp(&all[i], &sentinel, sizeof(T)), 0) << "overwritten at " << i;
    }
    return {all.begin() + offset_, all.begin() + offset_ + size_};
  }

 private:
  Device& device_;
  int64_t size_, offset_;
  Buffer buffer_;
};

/// The numbers of `type`, float32 or bfloat16, that are nearest to these.
inline std::vector<float> RoundTo(DataType type, std::vector<float> values) {
  if (type != DataType::kBFloat16) return values;
  for (float& value : values) value = ToFloat(ToBFloat16(value));
  return values;
}

/// Activations of a test: numbers of a type that is known at run time. Bfloat16 ones are left
/// misaligned where float32 are, and aligned to 16 bytes likewise.
class ActivationBuffer {
 public:
  ActivationBuffer(Device& device, DataType type, const std::vector<float>& values,
                   int64_t misalignment = 0)
      : type_(type),
        float32_(device, type == DataType::kFloat32 ? values : std::vector<float>(), misalignment),
        bfloat16_(device, type == DataType::kBFloat16 ? Bits(values) : std::vector<BFloat16>(),
                  2 * misalignment) {}
  ActivationBuffer(Device& device, DataType type, int64_t size, int64_t misalignment = 0)
      : ActivationBuffer(device, type, std::vector<float>(static_cast<size_t>(size)),
                         misalignment) {}

  View view() const { return type_ == DataType::kFloat32 ? float32_.view() : bfloat16_.view(); }
  operator View() const { return view(); }
  operator ConstView() const { return view(); }

  std::vector<float> Read() const {
    if (type_ == DataType::kFloat32) return float32_.Read();
    std::vector<float> values;
    for (const BFloat16 value : bfloat16_.Read()) values.push_back(ToFloat(value));
    return values;
  }

 private:
  static std::vector<BFloat16> Bits(const std::vector<float>& values) {
    std::vector<BFloat16> bits;
    for (const float value : values) bits.push_back(ToBFloat16(value));
    return bits;
  }

  DataType type_;
  TestBuffer<float> float32_;
  TestBuffer<BFloat16> bfloat16_;
};

/// Floats left free in front of operands of cuDNN and cuBLASLt, which want 16 bytes' alignment; the
/// CPU's want none.
inline int64_t LeftFree(const Device& device, int64_t count) {
  return device.kind() == std::string("cuda") ? 4 * count : count;
}

/// Whether the CPU rounds a decayed value once, as GPUs always do; else inputs with decay differ.
inline bool HasFusedMultiplyAdd(const Device& cpu) {
  return cpu.description().find("portable") == std::string::npos;
}

/// Deterministic standard normal values.
inline std::vector<float> RandomNormal(int64_t size, uint64_t seed, float scale = 1.0f) {
  RandomStream random(seed, 0);
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = scale * static_cast<float>(random.Normal());
  return values;
}

template <typename Backend>
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (device_ == nullptr) GTEST_SKIP() << kNoGpu;
  }

  std::unique_ptr<Device> device_ = Backend::Make();
};

}  // namespace thinwire
