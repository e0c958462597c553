#include "kernels/cpu/compression.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <vector>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/compression_input.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"
#include "kernels/sign_pieces.h"
#include "kernels/sum_tree.h"

namespace thinwire {
namespace {

template <typename T>
class CpuSignCompression : public SignCompression {
  using PackKernel = double (*)(const cpu::PackArguments<T>&, int64_t, int64_t);

 public:
  explicit CpuSignCompression(const SignShape& shape)
      : shape_(shape), cut_(shape), piece_sums_(pieces().items.size()) {}

  void Pack(const CompressionInput& input, View bits, View sums, View scales) override {
    cpu::PackArguments<T> a{.input = cpu::ArgumentsOf<T>(input)};
    PackEach(Kernels().pack, a, {}, bits, sums);
    if (scales) Scales(sums, scales);
  }

  void PackDifference(const CompressionInput& input, const SignMessage& pending, View state,
                      View bits, View sums, View scales) override {
    cpu::PackArguments<T> a{.input = cpu::ArgumentsOf<T>(input), .state = state.as<T>()};
    a.pending.words = pending.bits.as<uint32_t>();
    PackEach(Kernels().pack_difference, a, pending.scales, bits, sums);
    if (scales) Scales(sums, scales);
  }

  void PackSum(const CompressionInput& input, ConstView pending_scales, View error, View bits,
               View sums, View scales) override {
    cpu::PackArguments<T> a{.input = cpu::ArgumentsOf<T>(input), .state = error.as<T>()};
    PackEach(Kernels().pack_sum, a, pending_scales, bits, sums);
    if (scales) Scales(sums, scales);
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
    ForEachPiece([&](const SignPiece& piece) {
      cpu::SignParts<T> parts = all;
      parts.group = piece.group;
      Kernels().mean_of_signs(parts, add, stream, y.as<T>(), piece.begin, piece.end);
    });
  }

  void Add(const SignMessage& message, double factor, View y) override {
    const T weight = static_cast<T>(factor);
    ForEachPiece([&](const SignPiece& piece) {
      cpu::SignPart<T> part = PartOf(message, piece.group);
      part.scale *= weight;
      Kernels().add_signs(part, y.as<T>(), piece.begin, piece.end);
    });
  }

  void SettleError(ConstView scales, View error) override {
    ForEachPiece([&](const SignPiece& piece) {
      Kernels().settle_error(scales.as<T>()[piece.group], error.as<T>(), piece.begin, piece.end);
    });
  }

  void AddAndUpdate(const SignMessage& message, const AdamUpdate& update, View estimate,
                    View momentum, View variance, View max_variance, View x) override {
    auto arguments = ArgumentsOf<T>(update);
    if (const ConstView scale = update.common.gradient_scale) {
      arguments.gradient_scale = *scale.as<T>();
    }
    ForEachPiece([&](const SignPiece& piece) {
      Kernels().add_signs_and_adam(PartOf(message, piece.group), arguments, estimate.as<T>(),
                                   momentum.as<T>(), variance.as<T>(), max_variance.as<T>(),
                                   x.as<T>(), piece.begin, piece.end);
      if (const View rounded = update.common.bfloat16_x) {
        cpu::Round(x.as<float>() + piece.begin, rounded.as<BFloat16>() + piece.begin,
                   piece.end - piece.begin);
      }
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

  const ChunkList<SignPiece>& pieces() const { return cut_.pieces(); }

  template <typename Function>
  void ForEachChunk(const Function& function) {
    cpu::ParallelChunks(static_cast<int64_t>(pieces().first.size()) - 1,
                        [&](int64_t chunk) { function(static_cast<size_t>(chunk)); });
  }

  template <typename Function>
  void ForEachPiece(const Function& function) {
    ForEachChunk([&](size_t chunk) {
      for (size_t p = pieces().first[chunk]; p < pieces().first[chunk + 1]; ++p) {
        function(pieces().items[p]);
      }
    });
  }

  /// A sum for each piece, and of them one for each group.
  void PackEach(PackKernel kernel, const cpu::PackArguments<T>& arguments, ConstView pending_scales,
                View bits, View sums) {
    const bool squares = shape_.scale == SignShape::Scale::kRootMeanSquare;
    ForEachChunk([&](size_t chunk) {
      cpu::PackArguments<T> a = arguments;
      a.bits = bits.as<uint32_t>();
      a.squares = squares;
      a.settle = static_cast<bool>(pending_scales);
      for (size_t p = pieces().first[chunk]; p < pieces().first[chunk + 1]; ++p) {
        const SignPiece& piece = pieces().items[p];
        a.messages.group = piece.group;
        if (pending_scales) a.pending.scale = pending_scales.as<T>()[piece.group];
        piece_sums_[p] = kernel(a, piece.begin, piece.end);
      }
      for (size_t p = cut_.padded().first[chunk]; p < cut_.padded().first[chunk + 1]; ++p) {
        const PaddedWords& padded = cut_.padded().items[p];
        for (int64_t w = padded.begin; w < padded.end; ++w) a.bits[w] &= padded.mask;
      }
    });
    // A group's pieces are neighbours.
    size_t first = 0;
    for (size_t group = 0; group < shape_.group_sizes.size(); ++group) {
      std::array<double, sum_tree::kLanes> lanes{};
      size_t p = first;
      for (; p < piece_sums_.size() && pieces().items[p].group == static_cast<int64_t>(group);
           ++p) {
        lanes[(p - first) % lanes.size()] += piece_sums_[p];
      }
      first = p;
      double total = 0;
      for (const double lane : lanes) total += lane;
      sums.as<double>()[group] = total;
    }
  }

  SignShape shape_;
  SignPieces cut_;
  std::vector<double> piece_sums_;
  std::vector<const uint32_t*> message_words_;
  std::vector<const T*> message_scales_;
};

}  // namespace

std::unique_ptr<SignCompression> MakeCpuSignCompression(const SignShape& shape) {
  assert(shape.size % 32 == 0);
  if (shape.type == DataType::kFloat64) return std::make_unique<CpuSignCompression<double>>(shape);
  return std::make_unique<CpuSignCompression<float>>(shape);
}

}  // namespace thinwire
