#include "datasets/image_maker.h"

#include <algorithm>
#include <span>

namespace thinwire {

ImageMaker::ImageMaker(const Dataset& dataset, const AugmentationOptions& augmentation,
                       const Normalization& normalization, uint64_t seed)
    : dataset_(dataset) {
  if (dataset.encoded) {
    transform_.emplace(dataset.image_options, augmentation, normalization, seed);
  } else {
    augmenter_.emplace(dataset.height, dataset.width, dataset.channels, normalization, augmentation,
                       seed);
  }
}

template <typename T>
void ImageMaker::Decode(int64_t epoch, int64_t index, T* image, Scratch& scratch) const {
  const std::span<const uint8_t> bytes = dataset_.encoded->Read(index, scratch.bytes);
  transform_->Apply(bytes, dataset_.encoded->name(index), epoch, index, image, scratch.transform);
}

void ImageMaker::Make(int64_t epoch, int64_t index, float* image, Scratch& scratch) const {
  if (transform_) return Decode(epoch, index, image, scratch);
  augmenter_->Apply(augmenter_->Draw(epoch, index), dataset_.image(index), image);
}

Augmentation ImageMaker::Make(int64_t epoch, int64_t index, uint8_t* image,
                              Scratch& scratch) const {
  if (transform_) {
    Decode(epoch, index, image, scratch);
    return {};
  }
  std::copy_n(dataset_.image(index), dataset_.image_bytes(), image);
  return augmenter_->Draw(epoch, index);
}

AugmentationShape ImageMaker::shape() const {
  if (augmenter_) return augmenter_->shape();
  return {.batch = 1,
          .height = dataset_.height,
          .width = dataset_.width,
          .channels = dataset_.channels,
          .cutout = 0};
}

}  // namespace thinwire
