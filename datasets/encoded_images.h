// Where encoded images come from: a folder of files, a packed file, memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// The bytes of a data set's images, as they were found. All functions may be called from several
/// threads at once.
class EncodedImages {
 public:
  virtual ~EncodedImages() = default;

  virtual int64_t count() const = 0;
  /// What messages call an image: its path.
  virtual std::string name(int64_t index) const = 0;
  /// An image's bytes, which may lie in `buffer`; valid while both it and this object are left
  /// alone.
  /// @throws Error naming the image and why it cannot be read.
  virtual std::span<const uint8_t> Read(int64_t index, std::vector<uint8_t>& buffer) const = 0;
};

}  // namespace thinwire
