#include "train/image_memory.h"

#include <fmt/format.h>

namespace thinwire {

ImageMemory::ImageMemory(int64_t limit, Dataset& training, Dataset& test)
    : budget_(std::make_shared<CacheBudget>(limit)),
      training_(std::make_shared<const ImageCache>(training.encoded, budget_)),
      test_(std::make_shared<const ImageCache>(test.encoded, budget_)) {
  training.encoded = training_;
  test.encoded = test_;
}

std::string ImageMemory::Describe() const {
  return fmt::format("{} of {} training and {} of {} test images are kept in memory, {:.1f} MiB{}",
                     training_->cached(), training_->count(), test_->cached(), test_->count(),
                     static_cast<double>(budget_->used()) / (1 << 20),
                     budget_->exhausted() ? "; there is no room for more, and the others are read "
                                            "again each time"
                                          : "");
}

}  // namespace thinwire
