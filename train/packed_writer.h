// Writing packed data sets (datasets/packed_format.h), a kill at any time included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/packed_format.h"

namespace thinwire {

/// Writes PATH.part, image by image, and beside it PATH.part.journal, which says what is in it.
/// Whoever is killed can go on: a writer of the same path and source begins where the last one
/// ended, and the finished file is the same, byte for byte. It appears at PATH when it is whole.
class PackedWriter {
 public:
  struct Item {
    std::span<const std::byte> bytes;
    int32_t label = 0;
    PackedSplit split = PackedSplit::kTrain;
    std::string_view name;
    int64_t height = 0, width = 0, channels = 0;  // of bare pixels; else 0
  };

  /// @param kind What PackedImages::kind says.
  /// @param source All that decides the file's content: which images, and what is done to them.
  ///     What was written for another one is thrown away.
  /// @throws Error with path and cause; also if another process is writing the same file.
  PackedWriter(std::string path, const std::string& source, std::string kind,
               std::vector<std::string> classes);
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  /// How many items were appended or left out so far, by writers before this one, too: the source's
  /// item of this number is the next.
  int64_t position() const { return position_; }
  int64_t left_out() const { return left_out_; }
  /// Bytes of images so far.
  int64_t bytes() const { return static_cast<int64_t>(end_) - kHeaderBytes; }

  // @throws Error with path and cause, for example on a full disk. What was written stays.
  void Append(const Item& item);
  void LeaveOut(std::string_view name, std::string_view reason, PackedSplit split);
  /// Writes index and header; the file is durable under its name on return.
  void Commit();

 private:
  static constexpr int64_t kHeaderBytes = sizeof(PackedHeader);

  void Begin(const std::string& source);
  bool Resume(const std::string& source);
  void Write(int descriptor, const std::string& path, std::span<const std::byte> bytes);
  void Record(const PackedEntry& entry, std::string_view name, std::string_view reason);
  void Index(const PackedEntry& entry, std::string_view name, std::string_view reason);

  std::string path_, part_, journal_path_;
  std::string kind_;
  std::vector<std::string> classes_;
  int data_ = -1, journal_ = -1;
  uint64_t end_ = sizeof(PackedHeader);  // of the data
  int64_t position_ = 0, images_ = 0, left_out_ = 0;
  std::vector<std::byte> entries_, left_out_entries_;  // of the index
};

}  // namespace thinwire
