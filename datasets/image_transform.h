// From an encoded image to a network's input: which part is taken, decoded as far as it is needed,
// resized to a square and normalised.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/image_decoder.h"

namespace thinwire {

/// What becomes of an image: of its part [left, left + width) x [top, top + height), resized to
/// resized_width x resized_height, the square whose first pixel is (square_left, square_top), then
/// perhaps flipped. In pixels of the image as it is shown.
struct ImageCrop {
  int64_t left = 0, top = 0, width = 0, height = 0;
  int64_t resized_width = 0, resized_height = 0;
  int64_t square_left = 0, square_top = 0;
  bool flip = false;
  bool operator==(const ImageCrop&) const = default;
};

/// torchvision's RandomResizedCrop: a part of random area and aspect ratio that becomes the whole
/// square, then a random flip: a pure function of (seed, epoch, index).
ImageCrop DrawCrop(int64_t width, int64_t height, int64_t size, const AugmentationOptions& options,
                   uint64_t seed, int64_t epoch, int64_t index);

/// torchvision's Resize(resize) and CenterCrop(size): the shorter side becomes `resize`, and the
/// square in the middle is taken.
ImageCrop CentreCrop(int64_t width, int64_t height, int64_t resize, int64_t size);

/// Makes squares of a data set's images. Several threads may use one, each with its own Scratch.
class ImageTransform {
 public:
  /// Memory that is used again for the next image.
  struct Scratch {
    std::vector<uint8_t> rows, square, turned;
  };

  /// @throws Error (usage) for options that make no sense.
  ImageTransform(const ImageOptions& image, const AugmentationOptions& augmentation,
                 const Normalization& normalization, uint64_t seed);

  /// Decodes, crops, resizes and augments image `index` in `epoch`.
  /// @param output [size, size, 3].
  /// @throws Error as OpenImage and ImageReader::Decode.
  void Apply(std::span<const uint8_t> bytes, const std::string& name, int64_t epoch, int64_t index,
             uint8_t* output, Scratch& scratch) const;
  /// The same, normalised: (pixel / 255 - mean) / deviation.
  void Apply(std::span<const uint8_t> bytes, const std::string& name, int64_t epoch, int64_t index,
             float* output, Scratch& scratch) const;

  /// The crop that Apply takes of an image of this size.
  ImageCrop CropOf(int64_t width, int64_t height, int64_t epoch, int64_t index) const;
  /// The pixels of a crop, [size, size, 3].
  std::vector<uint8_t> Square(std::span<const uint8_t> bytes, const std::string& name,
                              const ImageCrop& crop) const;

  /// Every byte's normalised value, [3, 256].
  const std::vector<float>& table() const { return table_; }

 private:
  struct Orientation;
  std::unique_ptr<ImageReader> Open(std::span<const uint8_t> bytes, const std::string& name,
                                    int* orientation) const;
  /// Fills `output` with the crop.
  void DecodeSquare(ImageReader& reader, int orientation, const ImageCrop& crop, uint8_t* output,
                    Scratch& scratch) const;

  ImageOptions image_;
  AugmentationOptions augmentation_;
  uint64_t seed_;
  bool scaled_decoding_;
  std::vector<float> table_;
};

}  // namespace thinwire
