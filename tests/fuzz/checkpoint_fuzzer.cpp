// Whatever the bytes, the parser returns or throws thinwire::Error, and what it returns is written
// as the very same bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/error.h"
#include "train/checkpoint.h"
#include "kernels/crc32c.h"

namespace {

void Parse(std::span<const std::byte> bytes) {
  try {
    const thinwire::Checkpoint checkpoint = thinwire::ParseCheckpoint(bytes, "input");
    const std::vector<std::byte> again = thinwire::SerializeCheckpoint(checkpoint);
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
  } catch (const thinwire::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  Parse(input);

  // Few inputs have the right magic, lengths and checksum, so the parser behind these is given the
  // input as a header, or as its two halves, with all three made right.
  for (const size_t payload : {size_t{0}, size / 2}) {
    const uint64_t lengths[2] = {size - payload, payload};
    const uint32_t version[2] = {1, 0};
    std::vector<std::byte> sealed;
    const auto append = [&sealed](std::span<const std::byte> bytes) {
      sealed.insert(sealed.end(), bytes.begin(), bytes.end());
    };
    append(std::as_bytes(std::span("THINWIRE", 8)));
    append(std::as_bytes(std::span(version)));
    append(std::as_bytes(std::span(lengths)));
    append(input);
    const uint32_t crc = thinwire::Crc32c(sealed);
    append(std::as_bytes(std::span(&crc, 1)));
    Parse(sealed);
  }
  return 0;
}
