// Labelled images, in memory or encoded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datasets/encoded_images.h"
#include "datasets/image_decoder.h"

namespace thinwire {

/// How encoded images become inputs of one size.
struct ImageOptions {
  int64_t size = 224;    // side of the square that the network sees
  int64_t resize = 256;  // in evaluation, the image's shorter side before the square is cut
  bool exif_orientation = false;  // turn images as their Exif data say
  /// Decode JPEG at 1/2, 1/4 or 1/8 where the part that is taken stays as large as what it becomes.
  /// Cheaper, and a few grey levels off what resizing the whole gives. Empty: in training only.
  std::optional<bool> scaled_decoding = {};
  int64_t max_pixels = kDefaultMaxPixels;
  bool skip_unreadable = false;  // leave out images that cannot be decoded instead of failing
};

/// Labelled images: of one size and 8 bits, [count, height, width, channels] contiguous, or
/// encoded ones of any size, which become height x width as they are read.
struct Dataset {
  std::string name = {};
  int64_t count = 0;
  int64_t height = 0, width = 0, channels = 0;
  int64_t classes = 0;
  std::vector<uint8_t> images = {};
  std::vector<int32_t> labels = {};                   // in [0, classes)
  std::vector<std::string> class_names = {};          // may be unknown: empty
  std::shared_ptr<const EncodedImages> encoded = {};  // instead of `images`
  ImageOptions image_options = {};                    // of encoded images
  std::vector<std::string> left_out = {};             // files and folders, with reasons

  int64_t image_bytes() const { return height * width * channels; }
  const uint8_t* image(int64_t index) const { return images.data() + index * image_bytes(); }
};

enum class Split { kTrain, kTest };

struct DatasetOptions {
  std::string name = "shapes";          // shapes cifar10 cifar100 mnist image-folder packed
  std::string data_dir = {};            // not for shapes; of packed, the file
  std::vector<std::string> files = {};  // names in data_dir; empty: the data set's standard names
  /// shapes only: how many images, and the seed that draws them.
  int64_t count = 0;  // 0: 10,000 to train, 2,000 to test
  uint64_t seed = 0;
  ImageOptions image = {};  // of encoded images
};

/// Reads one split. @throws Error naming the file, what is wrong with it, and the remedy.
Dataset LoadDataset(const DatasetOptions& options, Split split);
std::vector<std::string> DatasetNames();

/// Per-channel mean and standard deviation of pixel / 255.
struct Normalization {
  std::vector<float> mean, deviation;
};
/// The usual values of a data set.
Normalization DefaultNormalization(const std::string& dataset);

}  // namespace thinwire
