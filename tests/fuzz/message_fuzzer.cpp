// Any bytes as a Top-K message of any coding, value type and range: either rising indices within
// the range and finite values, or an Error. What was decoded, encoded again, decodes to the same.
// The input's first bytes say how the others are read.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/error.h"
#include "optim/sparse_coding.h"

namespace {

using thinwire::DataType;
using thinwire::DecodeSparse;
using thinwire::IndexCoding;
using thinwire::Range;
using thinwire::SparseFormat;
using thinwire::ValueType;
using thinwire::View;

constexpr DataType kInt32 = DataType::kInt32;

struct Setting {
  uint8_t kind, room, range_bits, range_shift;
  uint32_t range_begin;
};

void Require(bool condition) {
  if (!condition) std::abort();
}

template <typename T>
void Check(const Setting& setting, std::span<const std::byte> message, DataType type) {
  const SparseFormat format{setting.kind & 1 ? IndexCoding::kPacked : IndexCoding::kPlain,
                            static_cast<ValueType>(setting.kind / 2 % 3)};
  // Ranges that hold few indices, all that there are, and most of what lies between.
  const int64_t begin = setting.range_begin % (uint32_t{1} << setting.range_shift % 31);
  const Range range{begin, begin + (int64_t{1} << setting.range_bits % 31) - 1};
  std::vector<int32_t> indices(setting.room);
  std::vector<T> values(setting.room);
  int64_t count = 0;
  try {
    count = DecodeSparse(message, range, format, View{indices.data(), setting.room, kInt32},
                         View{values.data(), setting.room, type});
  } catch (const thinwire::Error&) {
    return;
  }
  Require(count <= setting.room);
  int64_t next = range.begin;
  for (int64_t i = 0; i < count; ++i) {
    Require(indices[i] >= next && indices[i] < range.end && std::isfinite(values[i]));
    next = int64_t{indices[i]} + 1;
  }

  std::vector<std::byte> again;
  const View decoded{values.data(), count, type};
  EncodeSparse(View{indices.data(), count, kInt32}, decoded, range, format, again);
  Require(std::ssize(again) <= MaxSparseBytes(count, range, format, type));
  std::vector<int32_t> same_indices(setting.room);
  std::vector<T> same_values(setting.room);
  Require(DecodeSparse(again, range, format, View{same_indices.data(), count, kInt32},
                       View{same_values.data(), count, type}) == count);
  for (int64_t i = 0; i < count; ++i) Require(same_indices[i] == indices[i]);
  Require(std::memcmp(values.data(), same_values.data(), sizeof(T) * count) == 0);
  // Rounding leaves alone what was decoded.
  RoundValues(format.values, decoded);
  Require(std::memcmp(values.data(), same_values.data(), sizeof(T) * count) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Setting setting;
  if (size < sizeof(setting)) return 0;
  std::memcpy(&setting, data, sizeof(setting));
  // A copy of its own, so that a read past its end is seen.
  std::vector<std::byte> message(size - sizeof(setting));
  if (!message.empty()) std::memcpy(message.data(), data + sizeof(setting), message.size());
  if (setting.kind / 6 % 2 == 0) {
    Check<float>(setting, message, DataType::kFloat32);
  } else {
    Check<double>(setting, message, DataType::kFloat64);
  }
  return 0;
}
