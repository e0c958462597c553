#include "datasets/image_shrinker.h"

#include <algorithm>

#include "datasets/jpeg_encoder.h"
#include "datasets/resample.h"

namespace thinwire {

std::optional<std::vector<uint8_t>> ShrinkImage(std::span<const uint8_t> bytes,
                                                const std::string& name,
                                                const ShrinkOptions& options) {
  const ImageHeader header = ReadImageHeader(bytes, name, options.max_pixels);
  const DecodedImage image = DecodeImage(bytes, name, {}, options.max_pixels);
  const int64_t longer = std::max(image.full_width, image.full_height);
  if (options.max_side == 0 || longer <= options.max_side) return std::nullopt;

  const auto shrunk = [&](int64_t side) {
    return std::max<int64_t>((side * options.max_side + longer / 2) / longer, 1);
  };
  const auto plan = [&](int64_t side) {
    return PlanResampling(0, static_cast<double>(side), shrunk(side), 0, shrunk(side));
  };
  const ResampleAxis x = plan(image.full_width), y = plan(image.full_height);
  std::vector<uint8_t> pixels(static_cast<size_t>(x.outputs() * y.outputs() * 3)), scratch;
  Resample(x, y, image.pixels.data(), image.full_width * 3, pixels.data(), scratch);
  return CompressJpeg(pixels, x.outputs(), y.outputs(), options.quality, header.orientation, name);
}

}  // namespace thinwire
