// How the passes of the scaled sign cut their vectors, the same for every device.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/compression.h"

namespace thinwire {

/// Part of a run within one chunk: whole words, or a part of one.
struct SignPiece {
  int64_t begin = 0, end = 0, group = 0;
};

/// Words [begin, end) that hold padding in the bits that `mask` lacks.
struct PaddedWords {
  int64_t begin = 0, end = 0;
  uint32_t mask = 0;
};

/// What each chunk has to do, as indices into one list for all: chunk i's part is from first[i] to
/// first[i + 1].
template <typename Item>
struct ChunkList {
  std::vector<Item> items;
  std::vector<size_t> first{0};

  void FinishChunk() { first.push_back(items.size()); }
};

/// Chunks of sum_tree::kPiece elements: no two write to the same word. Pieces rise, and with them
/// their groups.
class SignPieces {
 public:
  explicit SignPieces(const SignShape& shape);

  const ChunkList<SignPiece>& pieces() const { return pieces_; }
  const ChunkList<PaddedWords>& padded() const { return padded_; }

 private:
  void AddPieces(int64_t begin, int64_t end, int64_t group, int64_t& done);
  void AddPadding(int64_t begin, int64_t end);

  ChunkList<SignPiece> pieces_;
  ChunkList<PaddedWords> padded_;
};

}  // namespace thinwire
