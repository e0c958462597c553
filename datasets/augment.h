// Augmentation and normalisation of one image in one pass, from bytes [height, width, channels] to
// float32 of the same layout.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "datasets/dataset.h"
#include "kernels/augmentation.h"

namespace thinwire {

struct AugmentationOptions {
  int64_t crop_padding = 0;  // random crop of the image padded with zeros by so many pixels
  bool flip = false;         // left-right with probability 1/2
  int64_t cutout = 0;        // side of the square that is zeroed (after normalisation); 0: none
  /// Encoded images only: a random part becomes the whole input; without, the middle does.
  bool random_resized_crop = false;
  std::array<double, 2> crop_scale = {0.08, 1};           // its share of the image's area
  std::array<double, 2> crop_ratio = {3.0 / 4, 4.0 / 3};  // its width by its height
  /// Encoded images only: RandAugment's number of operations an image, 0 for none, and their
  /// strength, 0 to kMostMagnitude.
  int64_t randaugment_operations = 0, randaugment_magnitude = 9;
  double color_jitter = 0;  // encoded images only; see DrawOperations
};
inline constexpr int64_t kMostMagnitude = 30;

/// Every byte's normalised value, (byte / 255 - mean) / deviation: [channels, 256].
/// @throws Error (usage) unless there are as many means and positive deviations as channels.
std::vector<float> NormalizationTable(const Normalization& normalization, int64_t channels);

/// Augments the images of one data set of stored images.
class Augmenter {
 public:
  /// @throws Error (usage) for options that make no sense for images of this size.
  Augmenter(int64_t height, int64_t width, int64_t channels, const Normalization& normalization,
            const AugmentationOptions& options, uint64_t seed);

  /// The augmentation of the data set's image `index` in `epoch`: a pure function of these and
  /// of the seed.
  Augmentation Draw(int64_t epoch, int64_t index) const;

  /// output = (pixel / 255 - mean) / deviation of the augmented image.
  void Apply(const Augmentation& augmentation, const uint8_t* image, float* output) const;

  /// Of one image, for ImageAugmentation.
  const AugmentationShape& shape() const { return shape_; }
  const std::vector<float>& table() const { return table_; }
  int64_t image_size() const { return shape_.image_size(); }

 private:
  AugmentationShape shape_;
  AugmentationOptions options_;
  uint64_t seed_;
  std::vector<float> table_;  // [channels, 256]: every byte's normalised value
};

}  // namespace thinwire
