// Any bytes as an image file: either pixels of the size that the header promises or an Error, and
// whatever can be decoded whole can be decoded in part, with the same pixels. The first bytes
// choose the part.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "datasets/image_decoder.h"
#include "datasets/image_transform.h"
#include "kernels/error.h"

namespace {

using thinwire::DecodedImage;
using thinwire::Error;

constexpr int64_t kMaxPixels = 1 << 18;

void Require(bool condition) {
  if (!condition) std::abort();
}

std::optional<DecodedImage> Decode(std::span<const uint8_t> bytes,
                                   const thinwire::DecodeOptions& options) {
  try {
    DecodedImage image = thinwire::DecodeImage(bytes, "fuzz", options, kMaxPixels);
    const auto& part = image.part;
    Require(part.left >= 0 && part.top >= 0 && part.width > 0 && part.height > 0);
    Require(part.left + part.width <= image.full_width);
    Require(part.top + part.height <= image.full_height);
    Require(std::ssize(image.pixels) == part.width * part.height * 3);
    return image;
  } catch (const Error&) {
    return std::nullopt;
  }
}

void DecodePart(std::span<const uint8_t> bytes, const uint8_t* choices) {
  const int reduction = 1 << choices[0] % 4;
  const std::optional<DecodedImage> whole = Decode(bytes, {.reduction = reduction});
  if (!whole) return;
  const auto choose = [&](int i, int64_t bound) { return choices[i] * bound / 256; };
  thinwire::ImageRegion wanted;
  wanted.left = choose(1, whole->full_width);
  wanted.top = choose(2, whole->full_height);
  wanted.width = 1 + choose(3, whole->full_width - wanted.left);
  wanted.height = 1 + choose(4, whole->full_height - wanted.top);
  const std::optional<DecodedImage> part = Decode(bytes, {reduction, wanted});
  Require(part.has_value());  // it needs no more of the data
  Require(part->full_width == whole->full_width && part->full_height == whole->full_height);
  Require(part->part.left <= wanted.left && part->part.top <= wanted.top);
  Require(part->part.left + part->part.width >= wanted.left + wanted.width);
  Require(part->part.top + part->part.height >= wanted.top + wanted.height);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kChoices = 5;
  if (size < kChoices) return 0;
  const std::span<const uint8_t> bytes(data + kChoices, size - kChoices);
  DecodePart(bytes, data);
  static const thinwire::Normalization normalization = {{0, 0, 0}, {1, 1, 1}};
  static const thinwire::ImageTransform training(
      {.size = 8, .resize = 9, .exif_orientation = true, .max_pixels = kMaxPixels},
      {.flip = true, .random_resized_crop = true}, normalization, 1);
  static const thinwire::ImageTransform evaluation(
      {.size = 8, .resize = 9, .max_pixels = kMaxPixels}, {}, normalization, 1);
  thinwire::ImageTransform::Scratch scratch;
  for (const auto* transform : {&training, &evaluation}) {
    std::vector<float> output(8 * 8 * 3, -1.0f);
    try {
      transform->Apply(bytes, "fuzz", 0, data[0], output.data(), scratch);
      for (const float value : output) Require(value >= 0 && value <= 1);
    } catch (const Error&) {
    }
  }
  return 0;
}
