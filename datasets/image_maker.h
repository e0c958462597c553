// Makes a network's inputs of a data set's images, whatever they are stored as.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/image_transform.h"

namespace thinwire {

/// Several threads may use one, each with its own Scratch.
class ImageMaker {
 public:
  struct Scratch {
    std::vector<uint8_t> bytes;
    ImageTransform::Scratch transform;
  };

  /// @param dataset Outlives it.
  /// @throws Error (usage) for options that make no sense.
  ImageMaker(const Dataset& dataset, const AugmentationOptions& augmentation,
             const Normalization& normalization, uint64_t seed);

  /// Image `index` in `epoch`, augmented and normalised, [height, width, channels].
  /// @throws Error for an image that cannot be decoded.
  void Make(int64_t epoch, int64_t index, float* image, Scratch& scratch) const;
  /// The same as bytes, and what is still to be done to them (ImageAugmentation).
  Augmentation Make(int64_t epoch, int64_t index, uint8_t* image, Scratch& scratch) const;

  /// Of one image and for all, for ImageAugmentation.
  AugmentationShape shape() const;
  const std::vector<float>& table() const {
    return augmenter_ ? augmenter_->table() : transform_->table();
  }

 private:
  template <typename T>
  void Decode(int64_t epoch, int64_t index, T* image, Scratch& scratch) const;

  const Dataset& dataset_;
  std::optional<Augmenter> augmenter_;       // of stored images
  std::optional<ImageTransform> transform_;  // of encoded ones
};

}  // namespace thinwire
