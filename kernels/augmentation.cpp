#include "kernels/augmentation.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace thinwire {

void CheckShape(const AugmentationShape& shape, std::span<const float> table) {
  constexpr int64_t kMaxChannels = 32;  // of which a GPU's shared memory holds the table
  if (shape.batch < 0 || shape.height < 1 || shape.width < 1 || shape.channels < 1 ||
      shape.channels > kMaxChannels || shape.cutout < 0 ||
      std::ssize(table) != shape.channels * kByteValues) {
    throw Error(
        fmt::format("augmentation of {}x{}x{} images with a table of {} values and a "
                    "cutout of {}",
                    shape.height, shape.width, shape.channels, table.size(), shape.cutout),
        fmt::format("images have 1 to {} channels, and each {} values", kMaxChannels, kByteValues));
  }
}

}  // namespace thinwire
