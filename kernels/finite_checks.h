// Checks of values and of messages that need not wait for the device.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/device.h"

namespace thinwire {

/// Looks for NaN and Inf, or for what else a message may not hold, at once where the host sees the
/// device's memory; elsewhere the device does it, and the host asks for what it has found in Read.
/// Meanwhile parameters stay as they are (Device::FindNonFinite).
class FiniteChecks {
 public:
  /// Throws what there is to say about a value that is not finite, at that index.
  using Failure = std::function<void(int64_t index)>;

  /// Device memory is allocated by the first check that needs it.
  explicit FiniteChecks(Device& device) : device_(device) {}

  /// @throws what `fail` does, now or in Read.
  void Check(ConstView x, Failure fail);
  /// The same of a sparse vector from elsewhere (Device::FindMalformed). Nothing is scattered by it
  /// on the device once something has been found.
  void CheckMessage(ConstView indices, ConstView values, const Range& range, Failure fail);
  /// The same of magnitudes from elsewhere, which may not be negative either.
  void CheckMagnitudes(ConstView x, Failure fail);
  /// Waits for the device if there have been checks since the last call.
  /// @throws what the first check's `fail` does that has found something.
  void Read();

 private:
  /// `find` writes what it finds, an int64_t, or has the device do so.
  void Find(const std::function<void(View)>& find, Failure fail);
  /// Where the device writes what it finds.
  View NextPlace(Failure fail);

  Device& device_;
  Buffer found_;  // an int64_t each
  std::vector<Failure> failures_;
};

}  // namespace thinwire
