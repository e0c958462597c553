// --cache ram: a run's encoded images in memory.
#pragma once

#include <memory>
#include <string>

#include "datasets/dataset.h"
#include "datasets/image_cache.h"

namespace thinwire {

/// Keeps what is read of two data sets in memory, as far as it has room for both together.
class ImageMemory {
 public:
  /// @param limit Bytes; 0: as the free memory allows.
  /// @pre Both are encoded; from now on they are read through this.
  ImageMemory(int64_t limit, Dataset& training, Dataset& test);

  /// What is kept, and whether there is room for more, for people.
  std::string Describe() const;

 private:
  std::shared_ptr<CacheBudget> budget_;
  std::shared_ptr<const ImageCache> training_, test_;
};

}  // namespace thinwire
