// The way of data from the host to a device beside the device's work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/device.h"

namespace thinwire {

/// Page-locked memory of the host (plain memory where there is no more of it) and as much of the
/// device, with a queue of copies of its own. One copy at a time: Memory, Start, Finish. Its places
/// are taken in turn, so that the host may be so many copies ahead of the device.
class StagedCopy {
 public:
  virtual ~StagedCopy() = default;

  /// Where what is to be copied belongs: the next place. Waits until its last copy has been made,
  /// which follows what read the device's memory of that place before.
  virtual std::span<std::byte> Memory() = 0;
  /// Starts to copy the memory's first `bytes`, beside all work that has been enqueued.
  virtual void Start(int64_t bytes) = 0;
  /// What is enqueued from here on finds them in `destination`, a view of so many bytes at least
  /// (kUint8). The host waits for nothing.
  virtual void Finish(View destination) = 0;
};

/// Copies of up to `bytes`. The device must outlive them. The CPU's copies all at Finish, from one
/// place.
/// @throws OutOfMemory of the device's.
std::unique_ptr<StagedCopy> MakeStagedCopy(Device& device, int64_t bytes, int64_t places = 1);
/// A GPU's. @throws also Error, in a build without CUDA.
std::unique_ptr<StagedCopy> MakeCudaStagedCopy(Device& device, int64_t bytes, int64_t places);

}  // namespace thinwire
