#include "kernels/cpu/compression.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/cpu/compression_input.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

constexpr int64_t kWord = 32;
constexpr int64_t kChunk = 16384;  // elements; whole words

int64_t RoundDown(int64_t i) { return i / kWord * kWord; }
int64_t RoundUp(int64_t i) { return RoundDown(i + kWord - 1); }

/// Part of a run within one chunk: whole words, or a part of one.
struct Piece {
  int64_t begin, end, group;
};

/// Words [begin, end) that hold padding in the bits that `mask` lacks.
struct PaddedWords {
  int64_t begin, end;
  uint32_t mask;
};

/// What each chunk has to do, as indices into one list for all: chunk i's part is from first[i] to
/// first[i + 1].
template <typename Item>
struct ChunkList {
  std::vector<Item> items;
  std::vector<size_t> first{0};

  void FinishChunk() { first.push_back(items.size()); }
};

/// Bits [begin, end) of a word.
uint32_t BitMask(int64_t begin, int64_t end) {
  return static_cast<uint32_t>((uint64_t{1} << end) - (uint64_t{1} << begin));
}

template <typename T>
class CpuSignCompression : public SignCompression {
  using PackKernel = double (*)(const cpu::PackArguments<T>&, int64_t, int64_t);

 public:
  explicit CpuSignCompression(const SignShape& shape) : shape_(shape) {
    auto run = shape_.runs.begin();
    for (int64_t begin = 0; begin < shape.size; begin += kChunk) {
      const int64_t end = std::min(begin + kChunk, shape.size);
      int64_t done = begin;
      for (; run != shape_.runs.end() && run->range.begin < end; ++run) {
        AddPieces(std::max(run->range.begin, begin), std::min(run->range.end, end), run->group,
                  done);
        if (run->range.end > end) break;
      }
      AddPadding(done, end);
      pieces_.FinishChunk();
      padded_.FinishChunk();
    }
    piece_sums_.resize(pieces_.items.size());
  }

  void Pack(const CompressionInput& input, View bits, View sums) override {
    cpu::PackArguments<T> a{.input = cpu::ArgumentsOf<T>(input)};
    PackEach(Kernels().pack, a, {}, bits, sums);
  }

  void PackDifference(const CompressionInput& input, const SignMessage& pending, View state,
                      View bits, View sums) override {
    cpu::PackArguments<T> a{.input = cpu::ArgumentsOf<T>(input), .state = state.as<T>()};
    a.pending.words = pending.bits.as<uint32_t>();
    PackEach(Kernels().pack_difference, a, pending.scales, bits, sums);
  }

  void PackSum(const CompressionInput& input, ConstView pending_scales, View error, View bits,
               View sums) override {
    cpu::PackArguments<T> a{.input = cpu::ArgumentsOf<T>(input), .state = error.as<T>()};
    PackEach(Kernels().pack_sum, a, pending_scales, bits, sums);
  }

  void PackMeanDifference(std::span<const SignMessage> messages, View estimate, ConstView target,
                          View bits, View sums) override {
    cpu::PackArguments<T> a{
        .messages = Parts(messages), .state = estimate.as<T>(), .target = target.as<T>()};
    PackEach(Kernels().pack_mean_difference, a, {}, bits, sums);
  }

  void PackMeanSum(std::span<const SignMessage> messages, ConstView pending_scales, View error,
                   View bits, View sums) override {
    cpu::PackArguments<T> a{.messages = Parts(messages), .state = error.as<T>()};
    PackEach(Kernels().pack_mean_sum, a, pending_scales, bits, sums);
  }

  void Scales(ConstView sums, View scales) override {
    for (size_t group = 0; group < shape_.group_sizes.size(); ++group) {
      const double mean = sums.as<double>()[group] / static_cast<double>(shape_.group_sizes[group]);
      const bool magnitude = shape_.scale == SignShape::Scale::kMeanMagnitude;
      scales.as<T>()[group] = static_cast<T>(magnitude ? mean : std::sqrt(mean));
    }
  }

  void Mean(std::span<const SignMessage> messages, bool add, View y) override {
    const cpu::SignParts<T> all = Parts(messages);
    const bool stream = cpu::ShouldStream(y.data, shape_.size * SizeOf(shape_.type));
    ForEachPiece([&](const Piece& piece) {
      cpu::SignParts<T> parts = all;
      parts.group = piece.group;
      Kernels().mean_of_signs(parts, add, stream, y.as<T>(), piece.begin, piece.end);
    });
  }

  void Add(const SignMessage& message, double factor, View y) override {
    const T weight = static_cast<T>(factor);
    ForEachPiece([&](const Piece& piece) {
      cpu::SignPart<T> part = PartOf(message, piece.group);
      part.scale *= weight;
      Kernels().add_signs(part, y.as<T>(), piece.begin, piece.end);
    });
  }

  void SettleError(ConstView scales, View error) override {
    ForEachPiece([&](const Piece& piece) {
      Kernels().settle_error(scales.as<T>()[piece.group], error.as<T>(), piece.begin, piece.end);
    });
  }

  void AddAndUpdate(const SignMessage& message, const AdamUpdate& update, View estimate,
                    View momentum, View variance, View max_variance, View x) override {
    auto arguments = ArgumentsOf<T>(update);
    if (const ConstView scale = update.common.gradient_scale) {
      arguments.gradient_scale = *scale.as<T>();
    }
    ForEachPiece([&](const Piece& piece) {
      Kernels().add_signs_and_adam(PartOf(message, piece.group), arguments, estimate.as<T>(),
                                   momentum.as<T>(), variance.as<T>(), max_variance.as<T>(),
                                   x.as<T>(), piece.begin, piece.end);
    });
  }

 private:
  static const cpu::FlatKernels<T>& Kernels() { return cpu::Isa().flat<T>(); }

  static cpu::SignPart<T> PartOf(const SignMessage& message, int64_t group) {
    return {message.bits.as<uint32_t>(), message.scales.as<T>()[group]};
  }

  cpu::SignParts<T> Parts(std::span<const SignMessage> messages) {
    message_words_.clear();
    message_scales_.clear();
    for (const SignMessage& message : messages) {
      message_words_.push_back(message.bits.as<uint32_t>());
      message_scales_.push_back(message.scales.as<T>());
    }
    return {message_words_.data(), message_scales_.data(), static_cast<int64_t>(messages.size()),
            0};
  }

  /// Cuts [begin, end) into pieces: the rest of a word, whole words, the start of a word. All
  /// before `done` is taken care of.
  void AddPieces(int64_t begin, int64_t end, int64_t group, int64_t& done) {
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
  void AddPadding(int64_t begin, int64_t end) {
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

  template <typename Function>
  void ForEachChunk(const Function& function) {
    cpu::ParallelChunks(static_cast<int64_t>(pieces_.first.size()) - 1,
                        [&](int64_t chunk) { function(static_cast<size_t>(chunk)); });
  }

  template <typename Function>
  void ForEachPiece(const Function& function) {
    ForEachChunk([&](size_t chunk) {
      for (size_t p = pieces_.first[chunk]; p < pieces_.first[chunk + 1]; ++p) {
        function(pieces_.items[p]);
      }
    });
  }

  /// A sum for each piece, and their sums in order.
  void PackEach(PackKernel kernel, const cpu::PackArguments<T>& arguments, ConstView pending_scales,
                View bits, View sums) {
    const bool squares = shape_.scale == SignShape::Scale::kRootMeanSquare;
    ForEachChunk([&](size_t chunk) {
      cpu::PackArguments<T> a = arguments;
      a.bits = bits.as<uint32_t>();
      a.squares = squares;
      a.settle = static_cast<bool>(pending_scales);
      for (size_t p = pieces_.first[chunk]; p < pieces_.first[chunk + 1]; ++p) {
        const Piece& piece = pieces_.items[p];
        a.messages.group = piece.group;
        if (pending_scales) a.pending.scale = pending_scales.as<T>()[piece.group];
        piece_sums_[p] = kernel(a, piece.begin, piece.end);
      }
      for (size_t p = padded_.first[chunk]; p < padded_.first[chunk + 1]; ++p) {
        const PaddedWords& padded = padded_.items[p];
        for (int64_t w = padded.begin; w < padded.end; ++w) a.bits[w] &= padded.mask;
      }
    });
    for (size_t group = 0; group < shape_.group_sizes.size(); ++group) sums.as<double>()[group] = 0;
    for (size_t p = 0; p < piece_sums_.size(); ++p) {
      sums.as<double>()[pieces_.items[p].group] += piece_sums_[p];
    }
  }

  SignShape shape_;
  ChunkList<Piece> pieces_;
  ChunkList<PaddedWords> padded_;
  std::vector<double> piece_sums_;
  std::vector<const uint32_t*> message_words_;
  std::vector<const T*> message_scales_;
};

}  // namespace

std::unique_ptr<SignCompression> MakeCpuSignCompression(const SignShape& shape) {
  assert(shape.size % kWord == 0);
  if (shape.type == DataType::kFloat64) return std::make_unique<CpuSignCompression<double>>(shape);
  return std::make_unique<CpuSignCompression<float>>(shape);
}

}  // namespace thinwire
