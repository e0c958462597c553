// Any bytes as a packed file: either one whose every image lies within it, or an Error.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "datasets/packed_images.h"
#include "kernels/crc32c.h"
#include "kernels/error.h"

namespace {

void Read(std::span<const std::byte> file) {
  try {
    const thinwire::PackedImages images(file, "input");
    for (int64_t i = 0; i < images.count(); ++i) {
      const auto image = images.Describe(i);
      const auto label = static_cast<size_t>(image.label);
      if (label >= images.classes().size() || image.bytes.data() < file.data() ||
          image.bytes.data() + image.bytes.size() > file.data() + file.size()) {
        std::abort();
      }
      try {
        images.Read(i);
      } catch (const thinwire::Error&) {
      }
    }
  } catch (const thinwire::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Read(std::as_bytes(std::span(data, size)));

  // Few inputs have the right checksums, so the index is also made of the input behind its first
  // bytes, which say how much it announces.
  thinwire::PackedHeader header;
  uint8_t counts[4] = {};
  if (size < sizeof(counts)) return 0;
  std::memcpy(counts, data, sizeof(counts));
  const auto rest = std::as_bytes(std::span(data + sizeof(counts), size - sizeof(counts)));
  header.classes = counts[0];
  header.images = counts[1];
  header.left_out = counts[2];
  const size_t images = rest.size() * counts[3] / 256;
  header.index_offset = sizeof(header) + images;
  header.index_bytes = rest.size() - images;
  header.index_checksum = thinwire::Crc32c(rest.subspan(images));
  header.checksum = thinwire::Crc32c(
      std::as_bytes(std::span(&header, 1)).first(sizeof(header) - sizeof(header.checksum)));
  std::vector<std::byte> file(sizeof(header) + rest.size());
  std::memcpy(file.data(), &header, sizeof(header));
  if (!rest.empty()) std::memcpy(file.data() + sizeof(header), rest.data(), rest.size());
  Read(file);
  return 0;
}
