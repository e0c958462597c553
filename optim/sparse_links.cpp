// Sparse compressors on the wire: Top-K, the K largest magnitudes, and Rand-K, K elements drawn
// from a common seed.
//
// Uplink, a message to each server: those of the worker's K elements that lie in its shard
// (optim/sparse_coding.h), and before it the message's length.
// Downlink, messages from each server, one a slice of its shard, so that slices can be decoded
// while the wire still carries others, and before them their lengths: all are sent when they are
// asked for. The K of a Top-K are the largest of the whole vector: each server finds its shard's,
// and the ranks agree on the threshold (optim/sharded_top_k.h). Rand-K's indices are not sent,
// since everyone can draw them again. Paper bits: Top-K 64 an element, Rand-K 32 an element and 64
// for the seed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/error.h"
#include "optim/links.h"
#include "optim/random_choice.h"
#include "optim/sharded_top_k.h"
#include "optim/sparse_coding.h"

namespace thinwire {
namespace {

int64_t ChosenCount(const OptimizerOptions& options, const LinkTensors& tensors) {
  const auto share = static_cast<int64_t>(options.top_k_ratio * static_cast<double>(tensors.count));
  return std::clamp<int64_t>(options.top_k.value_or(share), 1, tensors.count);
}

std::vector<Range> RangesWithin(const LinkTensors& tensors, const Range& shard) {
  std::vector<Range> ranges;
  for (const Range& range : tensors.ranges) {
    const Range part{std::max(range.begin, shard.begin), std::min(range.end, shard.end)};
    if (part.begin < part.end) ranges.push_back({part.begin - shard.begin, part.end - shard.begin});
  }
  return ranges;
}

int64_t ElementsOf(const std::vector<Range>& ranges) {
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

class SparseUplink : public Uplink, private SparseLink {
 public:
  SparseUplink(const LinkContext& context, const LinkTensors& tensors, bool random)
      : SparseLink(context, tensors, random),
        sent_(context.device(), k_, context.type()),
        own_ranges_(RangesWithin(tensors, context.own_shard())) {
    if (!random) {
      top_k_ = device().MakeTopK({.size = context.arena.padded_size(),
                                  .ranges = tensors.ranges,
                                  .k = k_,
                                  .type = context.type()});
    }
    const int64_t most = std::min(k_, ElementsOf(own_ranges_));
    for (int rank = 0; rank < context.communicator.size(); ++rank) {
      received_.emplace_back(device(), most, context.type());
    }
  }

  void Send(const CompressionInput& v) override {
    Choose(v, {}, 0);
    Exchange();
  }

  void SendDifference(const CompressionInput& v, View state) override {
    Choose(v, state, -1);
    Apply(1, state);
    Exchange();
  }

  void SendSum(const CompressionInput& v, View error) override {
    {
      PhaseTimer timer(context_.costs.compress);
      for (const Range& range : tensors_.ranges) {
        device().Evaluate(Slice(v, range), 1, Slice(error, range));
      }
    }
    Choose({.values = error}, {}, 0);
    Apply(-1, error);
    Exchange();
  }

  void Mean(bool add, View y) override {
    PhaseTimer timer(context_.costs.decode);
    if (!add) {
      for (const Range& range : own_ranges_) device().Zero(Slice(y, range));
    }
    const double share = 1.0 / static_cast<double>(received_.size());
    for (const SparseVector& message : received_) message.AddTo(share, y);
  }

  void AddOwn(double factor, View y) override { sent_.AddTo(factor, y); }

 private:
  void Choose(const CompressionInput& v, ConstView state, int state_factor) {
    PhaseTimer timer(context_.costs.compress);
    sent_.count = k_;
    if (random_) {
      Draw(context_.communicator.rank(), Direction::kUp, drawn_);
      device().CopyFromHost(drawn_.data(), sent_.indices());
      device().Gather(v, state, state_factor, sent_.indices(), sent_.values());
    } else {
      top_k_->Select(v, state, state_factor, sent_.indices(), sent_.values());
    }
    CheckFinite(sent_);
    Round(sent_);
  }

  void Apply(double factor, View state) {
    PhaseTimer timer(context_.costs.compress);
    sent_.AddTo(factor, state);
  }

  void Exchange() {
    Communicator& communicator = context_.communicator;
    const auto ranks = static_cast<size_t>(communicator.size());
    context_.costs.paper_bits_up += paper_bits();
    // One message to each server.
    std::vector<int32_t> lengths(ranks), incoming_lengths(ranks);
    {
      PhaseTimer timer(context_.costs.compress);
      Download(sent_, host_);
      outgoing_.clear();
      for (size_t rank = 0; rank < ranks; ++rank) {
        lengths[rank] = Encode(context_.shards[static_cast<int>(rank)]);
      }
    }
    context_.costs.coded_bits_up += 8 * static_cast<int64_t>(outgoing_.size());
    {
      PhaseTimer timer(context_.costs.wire);
      const std::vector<int64_t> words(ranks, sizeof(int32_t));
      communicator.AllToAllHost(std::as_bytes(std::span(lengths)), words,
                                std::as_writable_bytes(std::span(incoming_lengths)), words,
                                Purpose::kControl);
      for (size_t rank = 0; rank < ranks; ++rank) {
        CheckLength(rank, incoming_lengths[rank], received_[0].capacity(), own_shard());
      }
      const std::vector<int64_t> sending(lengths.begin(), lengths.end());
      const std::vector<int64_t> receiving(incoming_lengths.begin(), incoming_lengths.end());
      incoming_.resize(
          static_cast<size_t>(std::accumulate(receiving.begin(), receiving.end(), int64_t{0})));
      communicator.AllToAllHost(outgoing_, sending, incoming_, receiving, Purpose::kUplink);
    }
    PhaseTimer timer(context_.costs.decode);
    size_t start = 0;
    for (size_t rank = 0; rank < ranks; ++rank) {
      const auto length = static_cast<size_t>(incoming_lengths[rank]);
      if (random_) Draw(static_cast<int>(rank), Direction::kUp, drawn_);
      host_.Resize(0);
      Decode({incoming_.data() + start, length}, own_shard(), Within(drawn_, own_shard()),
             received_[rank].capacity(), static_cast<int>(rank), host_);
      host_.MoveIndices(-own_shard().begin);
      Upload(host_, received_[rank]);
      start += length;
    }
  }

  SparseVector sent_;
  const std::vector<Range> own_ranges_;
  std::unique_ptr<TopK> top_k_;
  std::vector<SparseVector> received_;  // by rank; indices count from the shard's begin
  std::vector<int32_t> drawn_;
};

class SparseDownlink : public Downlink, private SparseLink {
 public:
  SparseDownlink(const LinkContext& context, const LinkTensors& tensors, bool random)
      : Downlink(context),
        SparseLink(context, tensors, random),
        own_ranges_(RangesWithin(tensors, context.own_shard())),
        chosen_(context.device(), std::min(k_, ElementsOf(own_ranges_)), context.type()),
        received_(context.device(), k_, context.type()),
        sharded_top_k_(k_, context.device(), context.communicator) {
    if (!random && chosen_.capacity() > 0) {
      top_k_ = device().MakeTopK({.size = own_shard().size(),
                                  .ranges = own_ranges_,
                                  .k = chosen_.capacity(),
                                  .type = context.type()});
    }
    for (int rank = 0; rank < context.communicator.size(); ++rank) {
      const std::vector<Range> ranges = SlicesOf(context.shards[rank]);
      for (const Range& range : ranges) slices_.push_back({.range = range, .rank = rank});
      length_bytes_.push_back(std::ssize(ranges) * SizeOf(DataType::kInt32));
    }
  }

  void Send(ConstView v) override {
    Choose({.values = v}, {}, 0);
    Encode();
  }

  void SendDifference(ConstView v, View target) override {
    Choose({.values = v}, target, -1);
    Encode();
  }

  void SendError(View error) override {
    Choose({.values = error}, {}, 0);
    {
      PhaseTimer timer(context_.costs.compress);
      chosen_.AddTo(-1, error);
    }
    Encode();
  }

  void Receive(View y, const RangeWork& then) override {
    const auto write = [&](const Range& range) {
      for (const Range& part : RangesWithin(tensors_, range)) {
        device().Zero(Slice(Slice(y, range), part));
      }
      received_.AddTo(1, y);
    };
    Decode(write, then);
  }

  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    Decode([&](const Range&) { received_.AddTo(factor, y); }, then);
  }

 private:
  using SparseLink::context_;

  /// A part of a server's message, which can be decoded by itself.
  struct SparseSlice {
    Range range{};
    int rank = 0;
    int64_t begin = 0, bytes = 0;  // in incoming_
    int64_t end_bytes = 0;         // of its rank's message, from which on it is whole
    bool decoded = false;
  };

  /// Leaves this shard's part of the choice in chosen_, with indices from the shard's begin.
  void Choose(const CompressionInput& v, ConstView state, int state_factor) {
    PhaseTimer timer(context_.costs.compress);
    if (random_) {
      Draw(0, Direction::kDown, drawn_);
      host_.SetIndices(Within(drawn_, own_shard()));
      host_.MoveIndices(-own_shard().begin);
      chosen_.count = host_.count();
      device().CopyFromHost(host_.indices().data, chosen_.indices());
      device().Gather(v, state, state_factor, chosen_.indices(), chosen_.values());
      CheckFinite(chosen_);
    } else {
      chosen_.count = chosen_.capacity();
      if (top_k_) top_k_->Select(v, state, state_factor, chosen_.indices(), chosen_.values());
      CheckFinite(chosen_);
      ChooseAcrossRanks();
    }
    Round(chosen_);
  }

  void ChooseAcrossRanks() {
    Download(chosen_, host_);
    host_.Resize(sharded_top_k_.Select(host_.indices(), host_.values()));
    Upload(host_, chosen_);
  }

  void Encode() {
    PhaseTimer timer(context_.costs.compress);
    context_.costs.paper_bits_down += paper_bits();
    Download(chosen_, host_);
    host_.MoveIndices(own_shard().begin);
    outgoing_.clear();
    lengths_.clear();
    for (const SparseSlice& slice : slices_) {
      if (slice.rank != context_.communicator.rank()) continue;
      lengths_.push_back(SparseLink::Encode(slice.range));
    }
    sent_ = false;
  }

  /// Calls apply(range), and then `then`, with received_ the elements within the range: everything,
  /// or one slice after the other as they arrive.
  void Decode(const RangeWork& apply, const RangeWork& then) {
    for (SparseSlice& slice : slices_) slice.decoded = false;
    decoded_ = 0;
    if (!sent_) {
      sent_ = true;
      PhaseTimer timer(context_.costs.wire);
      Exchange(
          [&](std::span<const int64_t> arrived) { return DecodeArrived(arrived, apply, then); });
    }
    for (size_t first = 0, last = 0; first < slices_.size(); first = last) {
      last = first + 1;
      if (slices_[first].decoded) continue;
      while (last < slices_.size() && !slices_[last].decoded) ++last;
      DecodeSlices(first, last, apply, then);
    }
  }

  void Exchange(const ArrivalWork& work) {
    Communicator& communicator = context_.communicator;
    std::vector<int32_t> lengths(slices_.size());
    communicator.AllGatherHost(std::as_bytes(std::span(lengths_)),
                               std::as_writable_bytes(std::span(lengths)), length_bytes_,
                               Purpose::kControl);
    int64_t begin = 0;
    std::vector<int64_t> bytes(length_bytes_.size());
    for (size_t i = 0; i < slices_.size(); ++i) {
      SparseSlice& slice = slices_[i];
      const auto rank = static_cast<size_t>(slice.rank);
      CheckLength(rank, lengths[i], MostOf(slice), slice.range);
      slice.begin = begin;
      slice.bytes = lengths[i];
      slice.end_bytes = bytes[rank] += slice.bytes;
      begin += slice.bytes;
    }
    incoming_.resize(static_cast<size_t>(begin));
    context_.costs.coded_bits_down += 8 * begin;
    communicator.AllGatherHost(outgoing_, incoming_, bytes, Purpose::kDownlink,
                               device().host_visible() ? work : ArrivalWork());
  }

  int64_t MostOf(const SparseSlice& slice) const { return std::min(k_, slice.range.size()); }

  bool DecodeArrived(std::span<const int64_t> arrived, const RangeWork& apply,
                     const RangeWork& then) {
    for (size_t i = 0; i < slices_.size(); ++i) {
      const SparseSlice& slice = slices_[i];
      if (slice.decoded || slice.end_bytes > arrived[static_cast<size_t>(slice.rank)]) continue;
      DecodeSlices(i, i + 1, apply, then);
      return true;
    }
    return false;
  }

  /// Slices [first, last), which are neighbours, at once.
  void DecodeSlices(size_t first, size_t last, const RangeWork& apply, const RangeWork& then) {
    const Range range{slices_[first].range.begin, slices_[last - 1].range.end};
    {
      PhaseTimer timer(context_.costs.decode);
      host_.Resize(0);
      for (size_t i = first; i < last; ++i) {
        SparseSlice& slice = slices_[i];
        slice.decoded = true;
        SparseLink::Decode({incoming_.data() + slice.begin, static_cast<size_t>(slice.bytes)},
                           slice.range, Within(drawn_, slice.range),
                           std::min(k_ - decoded_ - host_.count(), MostOf(slice)), slice.rank,
                           host_);
      }
      decoded_ += host_.count();
      Upload(host_, received_);
      apply(range);
    }
    if (then) then(range);
  }

  const std::vector<Range> own_ranges_;
  SparseVector chosen_;    // of this rank's shard
  SparseVector received_;  // of the slices that were decoded last
  std::unique_ptr<TopK> top_k_;
  ShardedTopK sharded_top_k_;
  std::vector<int32_t> drawn_;
  std::vector<SparseSlice> slices_;    // of all ranks' messages, rising
  std::vector<int64_t> length_bytes_;  // of each rank, for the lengths of its slices
  std::vector<int32_t> lengths_;       // of this rank's
  bool sent_ = true;
  int64_t decoded_ = 0;  // elements, so far
};

}  // namespace

std::unique_ptr<Uplink> MakeSparseUplink(const LinkContext& context, const LinkTensors& tensors,
                                         bool random) {
  return std::make_unique<SparseUplink>(context, tensors, random);
}

std::unique_ptr<Downlink> MakeSparseDownlink(const LinkContext& context, const LinkTensors& tensors,
                                             bool random) {
  return std::make_unique<SparseDownlink>(context, tensors, random);
}

}  // namespace thinwire
