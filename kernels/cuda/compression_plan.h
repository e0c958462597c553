// The scaled sign's pieces in device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/device.h"
#include "kernels/sign_pieces.h"

namespace thinwire::cuda {

/// As kernels take it: device memory of a SignPlan.
struct PlannedPieces {
  const SignPiece* pieces;
  const PaddedWords* padded;
  const int64_t* first_pieces;  // of each group, and the end
  double* piece_sums;
  unsigned* finished_blocks;  // 0 between launches
  int64_t piece_count, padded_count, group_count;
};

class SignPlan {
 public:
  SignPlan(Device& device, const SignShape& shape);

  PlannedPieces pieces() const;
  const int64_t* group_sizes() const { return static_cast<const int64_t*>(group_sizes_.data()); }

 private:
  int64_t piece_count_, padded_count_, group_count_;
  Buffer pieces_, padded_, first_pieces_, group_sizes_, piece_sums_, finished_blocks_;
};

/// @throws Error if a kernel cannot take so many workers' messages.
void CheckMessageCount(size_t count, int most);

}  // namespace thinwire::cuda
