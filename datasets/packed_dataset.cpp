#include "datasets/packed_dataset.h"

#include <fmt/format.h>

#include "datasets/packed_images.h"
#include "kernels/error.h"

namespace thinwire {

Dataset LoadPacked(const std::string& path, Split split) {
  const PackedImages images(path);
  Dataset dataset{.name = std::string(images.kind()), .classes = std::ssize(images.classes())};
  for (int64_t i = 0; i < images.count(); ++i) {
    if (images.Describe(i).split != split) continue;
    const PackedImages::Image image = images.Read(i);
    if (dataset.count == 0) {
      dataset.height = image.height;
      dataset.width = image.width;
      dataset.channels = image.channels;
    }
    if (image.channels == 0 || image.height != dataset.height || image.width != dataset.width ||
        image.channels != dataset.channels) {
      throw Error(fmt::format("cannot use the packed data set {}: image {} is not of {}x{}x{} "
                              "bare pixels as others are",
                              path, image.name, dataset.height, dataset.width, dataset.channels),
                  "pack the data set again with thinwire prepare");
    }
    const auto* const pixels = reinterpret_cast<const uint8_t*>(image.bytes.data());
    dataset.images.insert(dataset.images.end(), pixels, pixels + image.bytes.size());
    dataset.labels.push_back(image.label);
    ++dataset.count;
  }
  if (dataset.count == 0) {
    throw Error(fmt::format("the packed data set {} has no {} images", path,
                            split == Split::kTrain ? "training" : "test"),
                "pack a data set that has both");
  }
  return dataset;
}

std::string PackedKind(const std::string& path) { return std::string(PackedImages(path).kind()); }

}  // namespace thinwire
