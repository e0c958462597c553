#include "kernels/cpu/compression.h"

#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/cpu/compression_input.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/updates.h"

namespace thinwire {
namespace {

constexpr int64_t kWord = 32;
constexpr int64_t kChunk = 16384;

/// Part of a run within one chunk.
struct Piece {
  int64_t begin, end, group;
};

template <typename T>
class CpuSignCompression : public SignCompression {
 public:
  explicit CpuSignCompression(const SignShape& shape) : shape_(shape) {
    const int64_t chunks = (shape.size + kChunk - 1) / kChunk;
    auto run = shape_.runs.begin();
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      first_piece_.push_back(static_cast<int64_t>(pieces_.size()));
      const int64_t chunk_begin = chunk * kChunk, chunk_end = chunk_begin + kChunk;
      for (; run != shape_.runs.end() && run->range.begin < chunk_end; ++run) {
        const int64_t begin = std::max(run->range.begin, chunk_begin);
        const int64_t end = std::min(run->range.end, chunk_end);
        if (begin < end) pieces_.push_back({begin, end, run->group});
        if (run->range.end > chunk_end) break;
      }
    }
    first_piece_.push_back(static_cast<int64_t>(pieces_.size()));
    piece_sums_.resize(pieces_.size());
  }

  void Pack(const CompressionInput& input, View bits, View sums) override {
    const cpu::TypedInput<T> in(input);
    PackEach([&](int64_t i, int64_t) { return in(i); }, bits, sums);
  }

  void PackDifference(const CompressionInput& input, const SignMessage& pending, View state,
                      View bits, View sums) override {
    const cpu::TypedInput<T> in(input);
    T* estimate = state.as<T>();
    PackEach(
        [&](int64_t i, int64_t group) {
          if (pending.bits) estimate[i] += Decode(pending, i, group);
          return in(i)-estimate[i];
        },
        bits, sums);
  }

  void PackSum(const CompressionInput& input, ConstView pending_scales, View error, View bits,
               View sums) override {
    const cpu::TypedInput<T> in(input);
    PackEach(
        [&](int64_t i, int64_t group) {
          T& p = error.as<T>()[i];
          p = Settled(pending_scales, p, group) + in(i);
          return p;
        },
        bits, sums);
  }

  void PackMeanDifference(std::span<const SignMessage> messages, View estimate, ConstView target,
                          View bits, View sums) override {
    PackEach(
        [&](int64_t i, int64_t group) {
          T& value = estimate.as<T>()[i];
          value += MeanOf(messages, i, group);
          return value - target.as<T>()[i];
        },
        bits, sums);
  }

  void PackMeanSum(std::span<const SignMessage> messages, ConstView pending_scales, View error,
                   View bits, View sums) override {
    PackEach(
        [&](int64_t i, int64_t group) {
          T& p = error.as<T>()[i];
          p = Settled(pending_scales, p, group) + MeanOf(messages, i, group);
          return p;
        },
        bits, sums);
  }

  void Scales(ConstView sums, View scales) override {
    for (size_t group = 0; group < shape_.group_sizes.size(); ++group) {
      const double mean = sums.as<double>()[group] / static_cast<double>(shape_.group_sizes[group]);
      const bool magnitude = shape_.scale == SignShape::Scale::kMeanMagnitude;
      scales.as<T>()[group] = static_cast<T>(magnitude ? mean : std::sqrt(mean));
    }
  }

  void Mean(std::span<const SignMessage> messages, bool add, View y) override {
    ForEach([&](int64_t i, int64_t group) {
      const T mean = MeanOf(messages, i, group);
      T& value = y.as<T>()[i];
      value = add ? value + mean : mean;
    });
  }

  void Add(const SignMessage& message, double factor, View y) override {
    const T weight = static_cast<T>(factor);
    ForEach([&](int64_t i, int64_t group) { y.as<T>()[i] += weight * Decode(message, i, group); });
  }

  void SettleError(ConstView scales, View error) override {
    ForEach([&](int64_t i, int64_t group) {
      T& value = error.as<T>()[i];
      value = Settled(scales, value, group);
    });
  }

  void AddAndUpdate(const SignMessage& message, const AdamUpdate& update, View estimate,
                    View momentum, View variance, View max_variance, View x) override {
    Add(message, 1, estimate);
    const auto arguments = cpu::ArgumentsOf<T>(update);
    ForEachPiece([&](const Piece& piece) {
      const int64_t i = piece.begin;
      cpu::Isa().flat<T>().adam_update(arguments, estimate.as<T>() + i, momentum.as<T>() + i,
                                       variance.as<T>() + i,
                                       max_variance ? max_variance.as<T>() + i : nullptr,
                                       x.as<T>() + i, piece.end - piece.begin);
    });
  }

 private:
  static T Decode(const SignMessage& message, int64_t i, int64_t group) {
    const uint32_t word = message.bits.as<uint32_t>()[i / kWord];
    const T scale = message.scales.as<T>()[group];
    return (word >> (i % kWord) & 1) != 0 ? scale : -scale;
  }
  static T MeanOf(std::span<const SignMessage> messages, int64_t i, int64_t group) {
    T sum = Decode(messages[0], i, group);
    for (const SignMessage& message : messages.subspan(1)) sum += Decode(message, i, group);
    return sum / static_cast<T>(messages.size());
  }
  static T Settled(ConstView scales, T error, int64_t group) {
    if (!scales) return error;
    const T scale = scales.as<T>()[group];
    return error >= 0 ? error - scale : error + scale;
  }

  template <typename Function>
  void ForEachPiece(const Function& function) {
    cpu::ParallelChunks(static_cast<int64_t>(first_piece_.size()) - 1, [&](int64_t chunk) {
      for (int64_t p = first_piece_[chunk]; p < first_piece_[chunk + 1]; ++p) function(pieces_[p]);
    });
  }
  template <typename Function>
  void ForEach(const Function& function) {
    ForEachPiece([&](const Piece& piece) {
      for (int64_t i = piece.begin; i < piece.end; ++i) function(i, piece.group);
    });
  }

  template <typename Function>
  void PackEach(const Function& function, View bits, View sums) {
    const bool squared = shape_.scale == SignShape::Scale::kRootMeanSquare;
    cpu::ParallelChunks(static_cast<int64_t>(first_piece_.size()) - 1, [&](int64_t chunk) {
      int64_t p = first_piece_[chunk];
      const int64_t last = first_piece_[chunk + 1];
      for (int64_t q = p; q < last; ++q) piece_sums_[q] = 0;
      const int64_t end = std::min((chunk + 1) * kChunk, shape_.size) / kWord;
      for (int64_t w = chunk * kChunk / kWord; w < end; ++w) {
        uint32_t word = 0;
        for (int64_t j = 0; j < kWord; ++j) {
          const int64_t i = w * kWord + j;
          while (p < last && pieces_[p].end <= i) ++p;
          if (p == last || i < pieces_[p].begin) continue;
          const T v = function(i, pieces_[p].group);
          word |= static_cast<uint32_t>(v >= 0) << j;
          const double wide = static_cast<double>(v);
          piece_sums_[p] += squared ? wide * wide : std::abs(wide);
        }
        bits.as<uint32_t>()[w] = word;
      }
    });
    for (size_t group = 0; group < shape_.group_sizes.size(); ++group) sums.as<double>()[group] = 0;
    for (size_t p = 0; p < pieces_.size(); ++p)
      sums.as<double>()[pieces_[p].group] += piece_sums_[p];
  }

  SignShape shape_;
  std::vector<Piece> pieces_;
  std::vector<int64_t> first_piece_;  // of each chunk, and the end
  std::vector<double> piece_sums_;
};

}  // namespace

std::unique_ptr<SignCompression> MakeCpuSignCompression(const SignShape& shape) {
  assert(shape.size % kWord == 0);
  if (shape.type == DataType::kFloat64) return std::make_unique<CpuSignCompression<double>>(shape);
  return std::make_unique<CpuSignCompression<float>>(shape);
}

}  // namespace thinwire
