// Reading packed data sets (datasets/packed_format.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/packed_format.h"

namespace thinwire {

/// Images where a packed file lies in memory. It is untrusted input: all that the index says is
/// checked when it is opened, and an image's bytes when they are asked for. Any number of threads
/// may read.
class PackedImages {
 public:
  struct Image {
    std::span<const std::byte> bytes;
    int32_t label = 0;
    PackedSplit split = PackedSplit::kTrain;
    std::string_view name;
    int64_t height = 0, width = 0, channels = 0;  // of bare pixels; else 0
  };
  struct LeftOut {
    std::string_view name, reason;
    PackedSplit split;
  };

  /// Maps the file, which has to stay as it is meanwhile.
  /// @throws Error with path and cause.
  explicit PackedImages(const std::string& path);
  /// A file that is in memory, which outlives this. @param name For messages.
  PackedImages(std::span<const std::byte> file, std::string name);
  ~PackedImages();
  PackedImages(PackedImages&&) noexcept;

  /// What kind() of the file would say, from its first bytes and this name alone: of a file with
  /// millions of images in no time. @throws Error with path and cause.
  static std::string KindOf(const std::string& path);

  int64_t count() const { return static_cast<int64_t>(entries_.size()); }
  /// For messages: its path.
  const std::string& name() const { return name_; }
  /// The data set that was packed: its name among DatasetNames().
  std::string_view kind() const { return kind_; }
  const std::vector<std::string_view>& classes() const { return classes_; }
  const std::vector<LeftOut>& left_out() const { return left_out_; }
  /// All about image `index` but its bytes, which are not looked at.
  Image Describe(int64_t index) const;
  /// Has the system fetch all of an image's bytes at once.
  /// @throws Error that names the file and the image if its bytes are damaged.
  Image Read(int64_t index) const;

 private:
  class Mapping;
  class IndexReader;
  PackedImages() = default;
  PackedHeader ReadHeader() const;
  std::span<const std::byte> IndexBytes(const PackedHeader& header) const;
  void ReadIndex();
  [[noreturn]] void Fail(const std::string& problem) const;

  std::string name_;
  std::unique_ptr<Mapping> mapping_;  // none of a file that is in memory
  std::span<const std::byte> file_;
  std::string_view kind_;
  std::vector<std::string_view> classes_;
  std::vector<PackedEntry> entries_;
  std::vector<std::string_view> names_;
  std::vector<LeftOut> left_out_;
};

}  // namespace thinwire
