// Encoded images that stay in memory once they have been read.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "datasets/encoded_images.h"

namespace thinwire {

/// Bytes that the kernel could still give to this process without swapping: what the machine has
/// available and what is left of the control group's limit, whichever is less.
int64_t AvailableMemory();

/// How much memory caches may take together. Any number of threads may ask.
class CacheBudget {
 public:
  /// @param limit Bytes; 0: no limit but that of the memory.
  /// @param available As AvailableMemory. A cache that leaves less than a tenth of what there was
  ///     at first takes no more.
  explicit CacheBudget(int64_t limit, std::function<int64_t()> available = AvailableMemory);

  /// Whether so many more may be taken; once they may not, none are.
  bool Take(int64_t bytes);
  void GiveBack(int64_t bytes) { used_ -= bytes; }

  int64_t used() const { return used_; }
  bool exhausted() const { return exhausted_; }

 private:
  int64_t limit_;
  std::function<int64_t()> available_;
  int64_t reserve_;
  std::atomic<int64_t> used_ = 0;
  std::atomic<bool> exhausted_ = false;
};

/// The images of a source, which is asked for each one once, as long as the budget lasts; after
/// that, for those that are not in memory. What cannot be read is not remembered.
class ImageCache final : public EncodedImages {
 public:
  ImageCache(std::shared_ptr<const EncodedImages> source, std::shared_ptr<CacheBudget> budget);
  ~ImageCache() override;
  ImageCache(const ImageCache&) = delete;
  ImageCache& operator=(const ImageCache&) = delete;

  int64_t count() const override { return source_->count(); }
  std::string name(int64_t index) const override { return source_->name(index); }
  std::span<const uint8_t> Read(int64_t index, std::vector<uint8_t>& buffer) const override;

  /// How many images are in memory.
  int64_t cached() const { return cached_; }

 private:
  using Bytes = std::vector<uint8_t>;

  std::shared_ptr<const EncodedImages> source_;
  std::shared_ptr<CacheBudget> budget_;
  std::unique_ptr<std::atomic<const Bytes*>[]> slots_;  // null, or an image for good
  mutable std::atomic<int64_t> cached_ = 0;
};

}  // namespace thinwire
