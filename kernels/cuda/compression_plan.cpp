#include "kernels/cuda/compression_plan.h"

#include <fmt/format.h>

#include <vector>

#include "kernels/cuda/upload.h"
#include "kernels/error.h"

namespace thinwire::cuda {

SignPlan::SignPlan(Device& device, const SignShape& shape) : group_count_(shape.groups()) {
  const SignPieces cut(shape);
  const std::vector<SignPiece>& pieces = cut.pieces().items;
  // Short items, so that threads share the work on long padding.
  constexpr int64_t kMostWords = 64;
  std::vector<PaddedWords> padded;
  for (PaddedWords words : cut.padded().items) {
    for (; words.end - words.begin > kMostWords; words.begin += kMostWords) {
      padded.push_back({words.begin, words.begin + kMostWords, words.mask});
    }
    padded.push_back(words);
  }
  std::vector<int64_t> first_pieces;
  for (size_t p = 0; p < pieces.size(); ++p) {
    while (static_cast<int64_t>(first_pieces.size()) <= pieces[p].group) {
      first_pieces.push_back(static_cast<int64_t>(p));
    }
  }
  first_pieces.resize(shape.group_sizes.size() + 1, static_cast<int64_t>(pieces.size()));
  piece_count_ = static_cast<int64_t>(pieces.size());
  padded_count_ = static_cast<int64_t>(padded.size());
  pieces_ = Upload(device, pieces);
  padded_ = Upload(device, padded);
  first_pieces_ = Upload(device, first_pieces);
  group_sizes_ = Upload(device, shape.group_sizes);
  finished_blocks_ = device.Allocate(sizeof(unsigned));
  piece_sums_ = device.Allocate(piece_count_ * static_cast<int64_t>(sizeof(double)));
}

PlannedPieces SignPlan::pieces() const {
  return {.pieces = static_cast<const SignPiece*>(pieces_.data()),
          .padded = static_cast<const PaddedWords*>(padded_.data()),
          .first_pieces = static_cast<const int64_t*>(first_pieces_.data()),
          .piece_sums = static_cast<double*>(piece_sums_.data()),
          .finished_blocks = static_cast<unsigned*>(finished_blocks_.data()),
          .piece_count = piece_count_,
          .padded_count = padded_count_,
          .group_count = group_count_};
}

void CheckMessageCount(size_t count, int most) {
  if (count == 0 || count > static_cast<size_t>(most)) {
    throw Error(
        fmt::format("the scaled sign on CUDA: {} workers' messages, of 1 to {}", count, most),
        "use fewer workers, or --device cpu");
  }
}

}  // namespace thinwire::cuda
