#include "optim/sparse_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/error.h"
#include "optim/gap_coding.h"

namespace thinwire {
namespace {

static_assert(std::endian::native == std::endian::little, "messages are little-endian");

constexpr int64_t kCountBytes = sizeof(uint32_t);

/// A 16-bit float by its place in float32: times `scale`, its exponent and fraction are float32's,
/// cut by `cut_bits` at their end, subnormal numbers included.
struct Format16 {
  int fraction_bits, cut_bits;
  float scale;
  double smallest_normal, largest;
  uint16_t exponent;  // all ones: Inf or NaN
};
constexpr Format16 kBF16{7, 16, 1, 0x1p-126, 0x1.fep127, 0x7F80};
constexpr Format16 kF16{10, 13, 0x1p-112f, 0x1p-14, 65504, 0x7C00};

/// The nearest number of the format. Float32 goes through float64, too, which is exact.
template <Format16 kFormat>
double Round(double value) {
  constexpr uint64_t kExponent = 0x7FF0'0000'0000'0000;
  constexpr double kUnits = static_cast<double>(int64_t{1} << (52 - kFormat.fraction_bits));
  const double magnitude = std::abs(value);
  const double clamped = magnitude < kFormat.largest ? magnitude : kFormat.largest;
  // Added to 2^52 units of the result's last place, a float64 rounds to such units by itself.
  const double power = std::bit_cast<double>(std::bit_cast<uint64_t>(clamped) & kExponent);
  const double shift = (power > kFormat.smallest_normal ? power : kFormat.smallest_normal) * kUnits;
  const double rounded = (clamped + shift) - shift;
  const bool finite = magnitude <= std::numeric_limits<double>::max();
  return std::copysign(finite ? rounded : magnitude, value);
}

template <Format16 kFormat>
uint16_t ToBits(double value) {
  const auto rounded = static_cast<float>(Round<kFormat>(value));
  const auto bits = std::bit_cast<uint32_t>(rounded * kFormat.scale);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | (bits >> kFormat.cut_bits & 0x7FFF));
}

template <Format16 kFormat>
float FromBits(uint16_t bits) {
  const uint32_t sign = bits & 0x8000u, rest = bits & 0x7FFFu;
  return std::bit_cast<float>(sign << 16 | rest << kFormat.cut_bits) / kFormat.scale;
}

/// Calls function.operator()<T>() with the views' type.
template <typename Function>
void WithType(DataType type, const Function& function) {
  if (type == DataType::kFloat32) return function.template operator()<float>();
  if (type == DataType::kFloat64) return function.template operator()<double>();
  throw Error(fmt::format("a sparse message is of data type {}", static_cast<int>(type)),
              "this is an error in thinwire; please report it");
}

template <Format16 kFormat>
void RoundAll(View values) {
  WithType(values.type, [&]<typename T>() {
    T* const x = values.as<T>();
    for (int64_t i = 0; i < values.size; ++i) x[i] = static_cast<T>(Round<kFormat>(x[i]));
  });
}

template <Format16 kFormat>
void Encode16(ConstView values, std::byte* bytes) {
  WithType(values.type, [&]<typename T>() {
    const T* const x = values.as<T>();
    for (int64_t i = 0; i < values.size; ++i) {
      const uint16_t bits = ToBits<kFormat>(x[i]);
      std::memcpy(bytes + 2 * i, &bits, 2);
    }
  });
}

/// Whether all are finite.
template <Format16 kFormat>
bool Decode16(const std::byte* bytes, View values) {
  bool finite = true;
  WithType(values.type, [&]<typename T>() {
    T* const x = values.as<T>();
    for (int64_t i = 0; i < values.size; ++i) {
      uint16_t bits;
      std::memcpy(&bits, bytes + 2 * i, 2);
      finite &= (bits & kFormat.exponent) != kFormat.exponent;
      x[i] = FromBits<kFormat>(bits);
    }
  });
  return finite;
}

bool DecodeFull(const std::byte* bytes, View values) {
  if (values.size == 0) return true;
  bool finite = true;
  std::memcpy(values.data, bytes, static_cast<size_t>(values.size * SizeOf(values.type)));
  WithType(values.type, [&]<typename T>() {
    const T* const x = values.as<T>();
    for (int64_t i = 0; i < values.size; ++i) {
      finite &= std::abs(x[i]) <= std::numeric_limits<T>::max();
    }
  });
  return finite;
}

int64_t ValueBytes(ValueType values, DataType type) {
  return values == ValueType::kFull ? SizeOf(type) : 2;
}

/// Bytes of `count` indices, of packed ones the most.
int64_t IndexBytes(int64_t count, Range range, IndexCoding coding) {
  if (coding == IndexCoding::kPacked) return MaxGapBytes(count, range);
  return coding == IndexCoding::kPlain ? 4 * count : 0;
}

/// A place for `count` more bytes at the end of the message.
std::byte* Extend(std::vector<std::byte>& message, int64_t count) {
  const size_t size = message.size();
  message.resize(size + static_cast<size_t>(count));
  return message.data() + size;
}

/// Fills `indices` from exactly `bytes`; the problem, or nothing.
const char* DecodeIndices(std::span<const std::byte> bytes, Range range, IndexCoding coding,
                          std::span<int32_t> indices) {
  constexpr const char* kBeyond = "holds an index beyond its range";
  if (coding == IndexCoding::kNone) return nullptr;
  if (coding == IndexCoding::kPacked) {
    switch (DecodeGaps(bytes, range, indices)) {
      case GapFault::kNone:
        return nullptr;
      case GapFault::kTooShort:
        return "ends within its indices";
      case GapFault::kTooLong:
        return "has more bytes than its indices and values fill";
      case GapFault::kBeyond:
        return kBeyond;
    }
  }
  if (bytes.empty()) return nullptr;
  std::memcpy(indices.data(), bytes.data(), bytes.size());
  int64_t next = range.begin;
  bool rising = true;
  for (const int32_t index : indices) {
    rising &= index >= next;
    next = int64_t{index} + 1;
  }
  if (indices.front() < range.begin || next > range.end) return kBeyond;
  return rising ? nullptr : "holds indices that do not rise";
}

}  // namespace

void RoundValues(ValueType type, View values) {
  switch (type) {
    case ValueType::kFull:
      return;
    case ValueType::kBF16:
      return RoundAll<kBF16>(values);
    case ValueType::kF16:
      return RoundAll<kF16>(values);
  }
}

void EncodeSparse(ConstView indices, ConstView values, Range range, SparseFormat format,
                  std::vector<std::byte>& message) {
  const auto count = static_cast<uint32_t>(indices.size);
  std::memcpy(Extend(message, kCountBytes), &count, kCountBytes);
  if (count == 0) return;
  if (format.indices == IndexCoding::kPacked) {
    EncodeGaps({indices.as<int32_t>(), count}, range, message);
  } else if (format.indices == IndexCoding::kPlain) {
    std::memcpy(Extend(message, 4 * indices.size), indices.data, 4 * size_t{count});
  }
  const int64_t bytes = values.size * ValueBytes(format.values, values.type);
  std::byte* const place = Extend(message, bytes);
  switch (format.values) {
    case ValueType::kFull:
      std::memcpy(place, values.data, static_cast<size_t>(bytes));
      return;
    case ValueType::kBF16:
      return Encode16<kBF16>(values, place);
    case ValueType::kF16:
      return Encode16<kF16>(values, place);
  }
}

int64_t MaxSparseBytes(int64_t count, Range range, SparseFormat format, DataType type) {
  return kCountBytes + IndexBytes(count, range, format.indices) +
         count * ValueBytes(format.values, type);
}

int64_t DecodeSparse(std::span<const std::byte> message, Range range, SparseFormat format,
                     View indices, View values) {
  const int64_t size = std::ssize(message);
  const auto fail = [&](const std::string& problem) {
    throw Error(fmt::format("a Top-K message of {} bytes {}", size, problem),
                "start the same build with the same settings on every rank");
  };
  if (size < kCountBytes) fail("has no room for its count");
  uint32_t count = 0;
  std::memcpy(&count, message.data(), kCountBytes);
  const int64_t allowed = std::min({indices.size, values.size, range.size()});
  if (count > allowed)
    fail(fmt::format("announces {} values where {} are allowed", count, allowed));
  const int64_t value_bytes = count * ValueBytes(format.values, values.type);
  const int64_t index_bytes = size - kCountBytes - value_bytes;
  const bool fits = format.indices == IndexCoding::kPacked
                        ? index_bytes >= 0
                        : index_bytes == IndexBytes(count, range, format.indices);
  if (!fits) {
    fail(fmt::format("does not fit the {} values that it announces", count));
  }
  if (const char* problem =
          DecodeIndices(message.subspan(kCountBytes, static_cast<size_t>(index_bytes)), range,
                        format.indices, {indices.as<int32_t>(), count})) {
    fail(problem);
  }
  const std::byte* const place = message.data() + kCountBytes + index_bytes;
  const View decoded = values.Slice(0, count);
  const bool finite = format.values == ValueType::kFull   ? DecodeFull(place, decoded)
                      : format.values == ValueType::kBF16 ? Decode16<kBF16>(place, decoded)
                                                          : Decode16<kF16>(place, decoded);
  if (!finite) fail("holds a value that is NaN or infinite");
  return count;
}

}  // namespace thinwire
