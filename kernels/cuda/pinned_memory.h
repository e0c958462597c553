// Memory of the host that a GPU copies from while the host goes on.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace thinwire::cuda {

/// Page-locked memory, or plain memory where there is no more of it: copies from that may keep the
/// host waiting.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> pageable_;
  std::span<std::byte> bytes_;
};

}  // namespace thinwire::cuda
