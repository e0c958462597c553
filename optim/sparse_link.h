// Sparse compressors on the wire: Top-K, the K largest magnitudes, and Rand-K, K elements drawn
// from a common seed. (Where nothing needs the host: optim/device_sparse_link.h.)
//
// Uplink, a message to each server: those of the worker's K elements that lie in its shard
// (optim/sparse_coding.h), and before it the message's length.
// Downlink, messages from each server, one a slice of its shard, so that slices can be decoded
// while the wire still carries others, and before them their lengths: all are sent when they are
// asked for. The K of a Top-K are the largest of the whole vector: each server finds its shard's,
// and the ranks agree on the threshold (optim/sharded_top_k.h). Rand-K's indices are not sent,
// since everyone can draw them again. Paper bits: Top-K 64 an element, Rand-K 32 an element and 64
// for the seed.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/error.h"
#include "optim/links.h"
#include "optim/random_choice.h"
#include "optim/sparse_coding.h"

namespace thinwire {

inline int64_t ChosenCount(const OptimizerOptions& options, const LinkTensors& tensors) {
  const auto share = static_cast<int64_t>(options.top_k_ratio * static_cast<double>(tensors.count));
  return std::clamp<int64_t>(options.top_k.value_or(share), 1, tensors.count);
}

inline std::vector<Range> RangesWithin(const LinkTensors& tensors, const Range& shard) {
  std::vector<Range> ranges;
  for (const Range& range : tensors.ranges) {
    const Range part{std::max(range.begin, shard.begin), std::min(range.end, shard.end)};
    if (part.begin < part.end) ranges.push_back({part.begin - shard.begin, part.end - shard.begin});
  }
  return ranges;
}

inline int64_t ElementsOf(const std::vector<Range>& ranges) {
  int64_t count = 0;
  for (const Range& range : ranges) count += range.size();
  return count;
}

/// Indices and values in device memory, `count` of them in use.
struct SparseVector {
  SparseVector(Device& device, int64_t capacity, DataType type)
      : device_(device),
        type_(type),
        capacity_(capacity),
        indices_(device.Allocate(capacity * SizeOf(DataType::kInt32))),
        values_(device.Allocate(capacity * SizeOf(type))) {}

  View indices() const { return indices_.view(DataType::kInt32).Slice(0, count); }
  View values() const { return values_.view(type_).Slice(0, count); }
  int64_t capacity() const { return capacity_; }
  void AddTo(double factor, View y) const { device_.ScatterAdd(indices(), values(), factor, y); }

  int64_t count = 0;

 private:
  Device& device_;
  DataType type_;
  int64_t capacity_;
  Buffer indices_, values_;
};

/// The same in host memory. Its memory stays however few elements are in use.
class HostSparse {
 public:
  explicit HostSparse(DataType type) : type_(type) {}

  int64_t count() const { return count_; }
  /// Elements that are new hold anything.
  void Resize(int64_t count) {
    count_ = count;
    if (count <= std::ssize(indices_)) return;
    indices_.resize(static_cast<size_t>(count));
    values_.resize(static_cast<size_t>(count * SizeOf(type_)));
  }
  void SetIndices(std::span<const int32_t> indices) {
    Resize(std::ssize(indices));
    std::copy(indices.begin(), indices.end(), indices_.begin());
  }
  void MoveIndices(int64_t by) {
    for (int32_t& index : index_span()) index += static_cast<int32_t>(by);
  }
  std::span<int32_t> index_span() { return {indices_.data(), static_cast<size_t>(count_)}; }
  View indices() { return {indices_.data(), count_, DataType::kInt32}; }
  View values() { return {values_.data(), count_, type_}; }

 private:
  DataType type_;
  int64_t count_ = 0;
  std::vector<int32_t> indices_;
  std::vector<std::byte> values_;
};

/// What both directions share: formats, and the choice of elements.
class SparseLink {
 protected:
  SparseLink(const LinkContext& context, const LinkTensors& tensors, bool random)
      : context_(context),
        tensors_(tensors),
        random_(random),
        k_(ChosenCount(context.options, tensors)),
        host_(context.type()) {
    const std::string& values = context.options.value_type;
    if (values == "bf16") format_.values = ValueType::kBF16;
    if (values == "f16") format_.values = ValueType::kF16;
    if (context.options.index_coding == "packed") format_.indices = IndexCoding::kPacked;
    if (random) format_.indices = IndexCoding::kNone;
  }

  Device& device() const { return context_.device(); }
  const Range& own_shard() const { return context_.own_shard(); }
  int64_t paper_bits() const { return random_ ? 32 * k_ + 64 : 64 * k_; }

  /// Rand-K: the elements that a rank's message of this step holds.
  void Draw(int rank, Direction direction, std::vector<int32_t>& indices) const {
    ChooseRandomly(tensors_.ranges, k_,
                   {.seed = context_.options.seed,
                    .step = context_.step,
                    .rank = rank,
                    .direction = direction},
                   indices);
  }

  void Download(const SparseVector& sparse, HostSparse& host) const {
    host.Resize(sparse.count);
    device().CopyToHost(sparse.indices(), host.indices().data);
    device().CopyToHost(sparse.values(), host.values().data);
  }
  void Upload(HostSparse& host, SparseVector& sparse) const {
    sparse.count = host.count();
    device().CopyFromHost(host.indices().data, sparse.indices());
    device().CopyFromHost(host.values().data, sparse.values());
  }

  /// Appends a message of host_'s elements within `range` to outgoing_; its bytes.
  int32_t Encode(const Range& range) {
    const auto part = Within(host_.index_span(), range);
    const int64_t first = part.data() - host_.index_span().data();
    const size_t before = outgoing_.size();
    EncodeSparse(host_.indices().Slice(first, std::ssize(part)),
                 host_.values().Slice(first, std::ssize(part)), range, format_, outgoing_);
    return static_cast<int32_t>(outgoing_.size() - before);
  }

  /// @throws Error if rank `sender` cannot mean that length of `count` elements within `range`.
  void CheckLength(size_t sender, int32_t length, int64_t count, const Range& range) const {
    const int64_t most = MaxSparseBytes(count, range, format_, context_.type());
    if (length >= 0 && length <= most) return;
    throw Error(fmt::format("step {}: rank {} announces a message of {} bytes, where {} are the "
                            "most",
                            context_.step, sender, length, most),
                "the checkpoints are intact; look at that rank's build and settings");
  }

  /// Decodes a message of elements within `range` into `host`, appending. `drawn`: Rand-K's
  /// indices there.
  void Decode(std::span<const std::byte> message, const Range& range,
              std::span<const int32_t> drawn, int64_t most, int sender, HostSparse& host) const {
    const int64_t before = host.count();
    host.Resize(before + (random_ ? static_cast<int64_t>(drawn.size()) : most));
    const View indices = host.indices().Slice(before, host.count() - before);
    const View values = host.values().Slice(before, host.count() - before);
    if (random_) std::copy(drawn.begin(), drawn.end(), indices.as<int32_t>());
    int64_t count = 0;
    try {
      count = DecodeSparse(message, range, format_, indices, values);
    } catch (const Error& error) {
      throw Error(fmt::format("step {}: rank {}'s message is malformed: {}", context_.step, sender,
                              error.what()),
                  "the checkpoints are intact; look at that rank's build and memory");
    }
    if (random_ && count != static_cast<int64_t>(drawn.size())) {
      throw Error(fmt::format("step {}: rank {}'s message holds {} values instead of {}",
                              context_.step, sender, count, drawn.size()),
                  "the checkpoints are intact; look at that rank's build and seed");
    }
    host.Resize(before + count);
  }

  /// Rounds chosen values to what the receivers will decode.
  void Round(SparseVector& sparse) {
    if (format_.values == ValueType::kFull) return;
    host_.Resize(sparse.count);
    device().CopyToHost(sparse.values(), host_.values().data);
    RoundValues(format_.values, host_.values());
    device().CopyFromHost(host_.values().data, sparse.values());
  }

  void CheckFinite(const SparseVector& sparse) const {
    context_.checks.Check(sparse.values(), [this](int64_t) { ThrowNonFiniteGradient(context_); });
  }

  const LinkContext context_;
  const LinkTensors tensors_;
  const bool random_;
  const int64_t k_;
  SparseFormat format_;
  HostSparse host_;
  std::vector<std::byte> outgoing_, incoming_;
};

}  // namespace thinwire
