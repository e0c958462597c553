// Any bytes as MNIST's files, plain and compressed: either arrays that keep their promises or an
// Error. The input's first byte says what is done with the others.
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "datasets/idx.h"
#include "kernels/error.h"

namespace {

using thinwire::Dataset;
using thinwire::Error;
using thinwire::IdxArray;

void Require(bool condition) {
  if (!condition) std::abort();
}

std::optional<IdxArray> Parse(std::span<const uint8_t> bytes, int dimensions) {
  try {
    IdxArray array = thinwire::ParseIdx(bytes, "fuzz", dimensions);
    Require(std::ssize(array.dimensions) == dimensions);
    int64_t elements = 1;
    for (const int64_t size : array.dimensions) elements *= size;
    Require(elements > 0 && std::ssize(array.values) == elements);
    return array;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::vector<uint8_t> Gzip(std::span<const uint8_t> bytes) {
  z_stream stream{};
  Require(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::vector<uint8_t> packed(deflateBound(&stream, bytes.size()) + 64);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  Require(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t what = data[0];
  const std::span<const uint8_t> bytes(data + 1, size - 1);
  if (what % 2 == 0) {
    // As it is: plain, or compressed if it happens to begin so.
    Parse(bytes, what % 4 == 0 ? 1 : 3);
    return 0;
  }
  // Its halves as images and labels, once plain and once compressed: both give the same.
  const size_t half = bytes.size() / 2;
  const auto images = Parse(bytes.first(half), 3), labels = Parse(bytes.subspan(half), 1);
  const auto packed = Parse(Gzip(bytes.first(half)), 3);
  // Plain bytes that are themselves gzip are unpacked once.
  const bool is_gzip = half >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
  Require(is_gzip || images.has_value() == packed.has_value());
  Require(is_gzip || !images || images->values == packed->values);
  if (!images || !labels) return 0;
  try {
    const Dataset dataset = thinwire::CombineIdx(*images, *labels, "images", "labels", 10);
    Require(dataset.count == std::ssize(dataset.labels));
    Require(std::ssize(dataset.images) == dataset.count * dataset.image_bytes());
    for (const int32_t label : dataset.labels) Require(label >= 0 && label < 10);
  } catch (const Error&) {
  }
  return 0;
}
