// Any bytes as a packed file: either one whose every image lies within it, or an Error; and its
// images, in a batch or an Error.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "datasets/image_shrinker.h"
#include "datasets/image_transform.h"
#include "datasets/packed_dataset.h"
#include "datasets/packed_images.h"
#include "kernels/crc32c.h"
#include "kernels/error.h"

namespace {

using thinwire::Error;
using thinwire::PackedEntry;
using thinwire::PackedImages;

constexpr int64_t kMaxPixels = 1 << 16;
constexpr int64_t kMaxImages = 20;  // that are decoded

void Require(bool condition) {
  if (!condition) std::abort();
}

/// All that training does with encoded images, one at a time.
void Decode(const thinwire::Dataset& dataset) {
  static const thinwire::ImageTransform transform(
      {.size = 8, .resize = 9, .max_pixels = kMaxPixels},
      {.flip = true, .random_resized_crop = true}, {{0, 0, 0}, {1, 1, 1}}, 1);
  thinwire::ImageTransform::Scratch scratch;
  std::vector<uint8_t> buffer;
  for (int64_t i = 0; i < std::min(dataset.count, kMaxImages); ++i) {
    const int32_t label = dataset.labels.at(static_cast<size_t>(i));
    Require(label >= 0 && label < dataset.classes);
    try {
      const auto bytes = dataset.encoded->Read(i, buffer);
      const std::string name = dataset.encoded->name(i);
      std::vector<float> output(8 * 8 * 3);
      transform.Apply(bytes, name, 0, i, output.data(), scratch);
      const auto smaller =
          thinwire::ShrinkImage(bytes, name, {.max_side = 20, .max_pixels = kMaxPixels});
      if (smaller) thinwire::ReadImageHeader(*smaller, name);
    } catch (const Error&) {
    }
  }
}

void Read(std::span<const std::byte> file) {
  std::shared_ptr<const PackedImages> images;
  try {
    images = std::make_shared<const PackedImages>(file, "input");
  } catch (const Error&) {
    return;
  }
  for (int64_t i = 0; i < images->count(); ++i) {
    const auto image = images->Describe(i);
    Require(static_cast<size_t>(image.label) < images->classes().size());
    Require(image.bytes.data() >= file.data());
    Require(image.bytes.data() + image.bytes.size() <= file.data() + file.size());
    try {
      images->Read(i);
    } catch (const Error&) {
    }
  }
  for (const thinwire::Split split : {thinwire::Split::kTrain, thinwire::Split::kTest}) {
    try {
      const thinwire::Dataset dataset =
          thinwire::MakePackedDataset(images, {.size = 8, .resize = 9}, split);
      Require(std::ssize(dataset.labels) == dataset.count);
      if (dataset.encoded) {
        Decode(dataset);
      } else {
        Require(std::ssize(dataset.images) == dataset.count * dataset.image_bytes());
      }
    } catch (const Error&) {
    }
  }
}

template <typename T>
void Append(std::vector<std::byte>& to, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

/// A file with the right checksums: images, and an index of the given bytes.
std::vector<std::byte> MakeFile(thinwire::PackedHeader header, std::span<const std::byte> images,
                                std::span<const std::byte> index) {
  header.index_offset = sizeof(header) + images.size();
  header.index_bytes = index.size();
  header.index_checksum = thinwire::Crc32c(index);
  header.checksum = thinwire::Crc32c(
      std::as_bytes(std::span(&header, 1)).first(sizeof(header) - sizeof(header.checksum)));
  std::vector<std::byte> file;
  Append(file, header);
  file.insert(file.end(), images.begin(), images.end());
  file.insert(file.end(), index.begin(), index.end());
  return file;
}

/// The input as images that `pieces` cut, with an index that is right.
void ReadAsImages(std::span<const std::byte> input, const uint8_t* pieces) {
  constexpr uint32_t kImages = 3;
  std::vector<std::byte> index;
  Append(index, uint32_t{0});  // the kind's length,
  Append(index, uint32_t{0});  // and the only class's
  size_t begin = 0;
  for (uint32_t i = 0; i < kImages; ++i) {
    const size_t end = i + 1 == kImages
                           ? input.size()
                           : begin + (input.size() - begin) * (pieces[i] / 2 + 128) / 256;
    const auto image = input.subspan(begin, end - begin);
    Append(index, PackedEntry{.offset = sizeof(thinwire::PackedHeader) + begin,
                              .bytes = static_cast<uint32_t>(image.size()),
                              .checksum = thinwire::Crc32c(image),
                              .split = static_cast<thinwire::PackedSplit>(i)});
    begin = end;
  }
  const auto file = MakeFile({.images = kImages, .classes = 1}, input, index);
  const PackedImages images(file, "input");  // is in order
  Require(images.count() == kImages);
  Read(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Read(std::as_bytes(std::span(data, size)));

  // Few inputs have the right checksums, so the index is also made of the input behind its first
  // bytes, which say how much it announces.
  uint8_t counts[4] = {};
  if (size < sizeof(counts)) return 0;
  std::memcpy(counts, data, sizeof(counts));
  const auto rest = std::as_bytes(std::span(data + sizeof(counts), size - sizeof(counts)));
  const size_t images = rest.size() * counts[3] / 256;
  Read(MakeFile({.images = counts[1], .left_out = counts[2], .classes = counts[0]},
                rest.first(images), rest.subspan(images)));
  ReadAsImages(rest, counts);
  return 0;
}
