// Labelled images in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace thinwire {

/// 8-bit images of one size, [count, height, width, channels] contiguous, with labels.
struct Dataset {
  std::string name = {};
  int64_t count = 0;
  int64_t height = 0, width = 0, channels = 0;
  int64_t classes = 0;
  std::vector<uint8_t> images = {};
  std::vector<int32_t> labels = {};  // in [0, classes)

  int64_t image_bytes() const { return height * width * channels; }
  const uint8_t* image(int64_t index) const { return images.data() + index * image_bytes(); }
};

enum class Split { kTrain, kTest };

struct DatasetOptions {
  std::string name = "shapes";          // shapes cifar10 cifar100 mnist packed
  std::string data_dir = {};            // not for shapes; of packed, the file
  std::vector<std::string> files = {};  // names in data_dir; empty: the data set's standard names
  /// shapes only: how many images, and the seed that draws them.
  int64_t count = 0;  // 0: 10,000 to train, 2,000 to test
  uint64_t seed = 0;
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
