// Whatever the bytes, the parser returns or throws thinwire::Error, and no byte belongs to two
// tensors.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "kernels/error.h"
#include "train/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const thinwire::SafetensorsFile file =
        thinwire::ParseSafetensors(std::as_bytes(std::span(data, size)), "input");
    uint64_t bytes = 8;
    for (const auto& [name, tensor] : file.tensors) bytes += tensor.bytes.size();
    if (bytes > size) std::abort();
  } catch (const thinwire::Error&) {
  }
  return 0;
}
