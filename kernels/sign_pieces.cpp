#include "kernels/sign_pieces.h"

#include <algorithm>

#include "kernels/sum_tree.h"

namespace thinwire {
namespace {

constexpr int64_t kWord = 32;

int64_t RoundDown(int64_t i) { return i / kWord * kWord; }
int64_t RoundUp(int64_t i) { return RoundDown(i + kWord - 1); }

/// Bits [begin, end) of a word.
uint32_t BitMask(int64_t begin, int64_t end) {
  return static_cast<uint32_t>((uint64_t{1} << end) - (uint64_t{1} << begin));
}

}  // namespace

SignPieces::SignPieces(const SignShape& shape) {
  auto run = shape.runs.begin();
  for (int64_t begin = 0; begin < shape.size; begin += sum_tree::kPiece) {
    const int64_t end = std::min(begin + sum_tree::kPiece, shape.size);
    int64_t done = begin;
    for (; run != shape.runs.end() && run->range.begin < end; ++run) {
      AddPieces(std::max(run->range.begin, begin), std::min(run->range.end, end), run->group, done);
      if (run->range.end > end) break;
    }
    AddPadding(done, end);
    pieces_.FinishChunk();
    padded_.FinishChunk();
  }
}

/// Cuts [begin, end) into pieces: the rest of a word, whole words, the start of a word. All
/// before `done` is taken care of.
void SignPieces::AddPieces(int64_t begin, int64_t end, int64_t group, int64_t& done) {
  if (begin >= end) return;
  AddPadding(done, begin);
  const int64_t whole_begin = std::min(RoundUp(begin), end);
  const int64_t whole_end = std::max(RoundDown(end), whole_begin);
  for (const auto& [from, to] :
       {Range{begin, whole_begin}, Range{whole_begin, whole_end}, Range{whole_end, end}}) {
    if (from < to) pieces_.items.push_back({from, to, group});
  }
  done = end;
}

/// Elements [begin, end) are padding.
void SignPieces::AddPadding(int64_t begin, int64_t end) {
  if (begin >= end) return;
  const int64_t whole_begin = std::min(RoundUp(begin), end);
  const int64_t whole_end = std::max(RoundDown(end), whole_begin);
  for (const auto& [from, to] :
       {Range{begin, whole_begin}, Range{whole_begin, whole_end}, Range{whole_end, end}}) {
    if (from >= to) continue;
    const int64_t word = from / kWord;
    const bool whole = from % kWord == 0 && to % kWord == 0;
    padded_.items.push_back({word, whole ? to / kWord : word + 1,
                             whole ? 0 : ~BitMask(from % kWord, to - word * kWord)});
  }
}

}  // namespace thinwire
