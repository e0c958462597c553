// Any bytes as LIBSVM text, plain and packed: either rows that keep their promises or an Error. The
// input's first byte says what is done with the others.
#include <bzlib.h>
#include <lzma.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "datasets/libsvm.h"
#include "kernels/cpu/regression.h"
#include "kernels/error.h"

namespace {

using thinwire::Error;
using thinwire::SparseDataset;

void Require(bool condition) {
  if (!condition) std::abort();
}

std::optional<SparseDataset> Parse(std::span<const uint8_t> bytes) {
  try {
    SparseDataset data = thinwire::ParseLibsvm(bytes, "fuzz");
    Require(data.rows > 0 && data.classes >= 2 && data.features >= 0);
    Require(std::ssize(data.label_values) == data.classes);
    Require(std::is_sorted(data.label_values.begin(), data.label_values.end()));
    for (const double value : data.values) Require(std::isfinite(value));
    // Whoever computes with rows checks them again.
    constexpr int64_t kFew = 1000;
    if (data.features < kFew && data.classes < kFew) {
      thinwire::MakeCpuRegression({.data = data.view(), .classes = data.classes});
    }
    return data;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::vector<uint8_t> PackBzip2(std::span<const uint8_t> bytes) {
  auto size = static_cast<unsigned>(bytes.size() + bytes.size() / 100 + 600);
  std::vector<uint8_t> packed(size), source(bytes.begin(), bytes.end());
  source.reserve(1);
  Require(BZ2_bzBuffToBuffCompress(reinterpret_cast<char*>(packed.data()), &size,
                                   reinterpret_cast<char*>(source.data()),
                                   static_cast<unsigned>(source.size()), 1, 0, 0) == BZ_OK);
  packed.resize(size);
  return packed;
}

std::vector<uint8_t> PackXz(std::span<const uint8_t> bytes) {
  std::vector<uint8_t> packed(lzma_stream_buffer_bound(bytes.size()));
  size_t size = 0;
  Require(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, nullptr, bytes.data(), bytes.size(),
                                  packed.data(), &size, packed.size()) == LZMA_OK);
  packed.resize(size);
  return packed;
}

bool IsPacked(std::span<const uint8_t> bytes) {
  return !bytes.empty() && (bytes[0] == 0x1f || bytes[0] == 'B' || bytes[0] == 0xfd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  const auto plain = Parse(bytes);
  if (data[0] % 4 > 1 || IsPacked(bytes)) return 0;
  // Packed text gives the same.
  auto packed = data[0] % 4 == 0 ? PackBzip2(bytes) : PackXz(bytes);
  const auto unpacked = Parse(packed);
  Require(plain.has_value() == unpacked.has_value());
  if (plain) {
    Require(plain->starts == unpacked->starts && plain->columns == unpacked->columns);
    Require(plain->values == unpacked->values && plain->labels == unpacked->labels);
  }
  // A damaged archive is read to its end or refused.
  packed[packed.size() * data[0] / 256] ^= static_cast<uint8_t>(1 + data[0] % 251);
  Parse(packed);
  return 0;
}
