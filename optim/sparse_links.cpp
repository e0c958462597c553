// Sparse compressors on the wire: Top-K, the K largest magnitudes, and Rand-K, K elements drawn
// from a common seed.
//
// Uplink, a message to each server: those of the worker's K elements that lie in its shard
// (optim/sparse_coding.h), and before it the message's length.
// Downlink, likewise from each server. The K of a Top-K are the largest of the whole vector: each
// server finds its shard's, and the ranks agree on the threshold (optim/sharded_top_k.h).
// Rand-K's indices are not sent, since everyone can draw them again.
// Paper bits: Top-K 64 an element, Rand-K 32 an element and 64 for the seed.
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

/// The same in host memory, with values of the vector's type.
struct HostSparse {
  std::vector<int32_t> indices;
  std::vector<std::byte> values;
  DataType type = DataType::kFloat32;

  int64_t count() const { return static_cast<int64_t>(indices.size()); }
  void Resize(int64_t count) {
    indices.resize(static_cast<size_t>(count));
    values.resize(static_cast<size_t>(count * SizeOf(type)));
  }
  View index_view() { return {indices.data(), count(), DataType::kInt32}; }
  View value_view() { return {values.data(), count(), type}; }
};

/// What both directions share: formats, and the choice of elements.
class SparseLink {
 protected:
  SparseLink(const LinkContext& context, const LinkTensors& tensors, bool random)
      : context_(context),
        tensors_(tensors),
        random_(random),
        k_(ChosenCount(context.options, tensors)) {
    const std::string& values = context.options.value_type;
    if (values == "bf16") format_.values = ValueType::kBF16;
    if (values == "f16") format_.values = ValueType::kF16;
    if (context.options.index_coding == "packed") format_.indices = IndexCoding::kPacked;
    if (random) format_.indices = IndexCoding::kNone;
    host_.type = context.type();
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
    device().CopyToHost(sparse.indices(), host.indices.data());
    device().CopyToHost(sparse.values(), host.values.data());
  }
  void Upload(HostSparse& host, SparseVector& sparse) const {
    sparse.count = host.count();
    device().CopyFromHost(host.indices.data(), sparse.indices());
    device().CopyFromHost(host.values.data(), sparse.values());
  }

  /// Decodes a message of elements within `range` into `host`, appending. `drawn`: Rand-K's
  /// indices there.
  void Decode(std::span<const std::byte> message, const Range& range,
              std::span<const int32_t> drawn, int64_t most, int sender, HostSparse& host) const {
    const int64_t before = host.count();
    host.Resize(before + (random_ ? static_cast<int64_t>(drawn.size()) : most));
    const View indices = host.index_view().Slice(before, host.count() - before);
    const View values = host.value_view().Slice(before, host.count() - before);
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
    device().CopyToHost(sparse.values(), host_.values.data());
    RoundValues(format_.values, host_.value_view());
    device().CopyFromHost(host_.values.data(), sparse.values());
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
        const Range& shard = context_.shards[static_cast<int>(rank)];
        const auto part = Within(host_.indices, shard);
        const int64_t first = part.data() - host_.indices.data();
        const auto count = static_cast<int64_t>(part.size());
        const size_t before = outgoing_.size();
        EncodeSparse(host_.index_view().Slice(first, count), host_.value_view().Slice(first, count),
                     shard, format_, outgoing_);
        lengths[rank] = static_cast<int32_t>(outgoing_.size() - before);
      }
    }
    context_.costs.coded_bits_up += 8 * static_cast<int64_t>(outgoing_.size());
    {
      PhaseTimer timer(context_.costs.wire);
      const std::vector<int64_t> words(ranks, sizeof(int32_t));
      communicator.AllToAllHost(std::as_bytes(std::span(lengths)), words,
                                std::as_writable_bytes(std::span(incoming_lengths)), words,
                                Purpose::kControl);
      CheckLengths(incoming_lengths);
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
      for (int32_t& index : host_.indices) index -= static_cast<int32_t>(own_shard().begin);
      Upload(host_, received_[rank]);
      start += length;
    }
  }

  void CheckLengths(const std::vector<int32_t>& lengths) const {
    const int64_t most =
        MaxSparseBytes(received_[0].capacity(), own_shard(), format_, context_.type());
    for (size_t rank = 0; rank < lengths.size(); ++rank) {
      if (lengths[rank] >= 0 && lengths[rank] <= most) continue;
      throw Error(fmt::format("step {}: rank {} announces a message of {} bytes, where {} are the "
                              "most",
                              context_.step, rank, lengths[rank], most),
                  "the checkpoints are intact; look at that rank's build and settings");
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
        received_(context.device(), k_, context.type()) {
    if (!random && chosen_.capacity() > 0) {
      top_k_ = device().MakeTopK({.size = own_shard().size(),
                                  .ranges = own_ranges_,
                                  .k = chosen_.capacity(),
                                  .type = context.type()});
    }
  }

  void Send(ConstView v) override {
    Choose({.values = v}, {}, 0);
    Gather();
  }

  void SendDifference(ConstView v, View target) override {
    Choose({.values = v}, target, -1);
    Gather();
  }

  void SendError(View error) override {
    Choose({.values = error}, {}, 0);
    {
      PhaseTimer timer(context_.costs.compress);
      chosen_.AddTo(-1, error);
    }
    Gather();
  }

  void Receive(View y, const RangeWork& then) override {
    PhaseTimer timer(context_.costs.decode);
    for (const Range& range : tensors_.ranges) device().Zero(Slice(y, range));
    received_.AddTo(1, y);
    if (then) then({0, y.size});
  }

  void ReceiveAdd(double factor, View y) override {
    PhaseTimer timer(context_.costs.decode);
    received_.AddTo(factor, y);
  }

 private:
  using SparseLink::context_;

  /// Leaves this shard's part of the choice in chosen_, with indices from the shard's begin.
  void Choose(const CompressionInput& v, ConstView state, int state_factor) {
    PhaseTimer timer(context_.costs.compress);
    if (random_) {
      Draw(0, Direction::kDown, drawn_);
      const auto part = Within(drawn_, own_shard());
      host_.indices.assign(part.begin(), part.end());
      for (int32_t& index : host_.indices) index -= static_cast<int32_t>(own_shard().begin);
      chosen_.count = host_.count();
      device().CopyFromHost(host_.indices.data(), chosen_.indices());
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
    Candidates candidates;
    const auto count = static_cast<size_t>(chosen_.count);
    candidates.indices.resize(count);
    candidates.values.resize(count);
    device().CopyToHost(chosen_.indices(), candidates.indices.data());
    if (context_.type() == DataType::kFloat64) {
      device().CopyToHost(chosen_.values(), candidates.values.data());
    } else {
      std::vector<float> values(count);
      device().CopyToHost(chosen_.values(), values.data());
      std::copy(values.begin(), values.end(), candidates.values.begin());
    }
    SelectAcrossRanks(candidates, k_, context_.type(), device(), context_.communicator);

    host_.Resize(static_cast<int64_t>(candidates.indices.size()));
    host_.indices = candidates.indices;
    const View values = host_.value_view();
    if (context_.type() == DataType::kFloat64) {
      std::copy(candidates.values.begin(), candidates.values.end(), values.as<double>());
    } else {
      std::transform(candidates.values.begin(), candidates.values.end(), values.as<float>(),
                     [](double value) { return static_cast<float>(value); });
    }
    Upload(host_, chosen_);
  }

  void Gather() {
    Communicator& communicator = context_.communicator;
    context_.costs.paper_bits_down += paper_bits();
    {
      PhaseTimer timer(context_.costs.compress);
      Download(chosen_, host_);
      for (int32_t& index : host_.indices) index += static_cast<int32_t>(own_shard().begin);
      outgoing_.clear();
      EncodeSparse(host_.index_view(), host_.value_view(), own_shard(), format_, outgoing_);
    }
    std::vector<int64_t> lengths;
    {
      PhaseTimer timer(context_.costs.wire);
      lengths = communicator.AllGatherHost(static_cast<int64_t>(outgoing_.size()));
      for (size_t rank = 0; rank < lengths.size(); ++rank) CheckLength(rank, lengths[rank]);
      incoming_.resize(
          static_cast<size_t>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0})));
      communicator.AllGatherHost(outgoing_, incoming_, lengths, Purpose::kDownlink);
    }
    context_.costs.coded_bits_down += 8 * static_cast<int64_t>(incoming_.size());

    PhaseTimer timer(context_.costs.decode);
    host_.Resize(0);
    size_t start = 0;
    for (size_t rank = 0; rank < lengths.size(); ++rank) {
      const Range& shard = context_.shards[static_cast<int>(rank)];
      const auto length = static_cast<size_t>(lengths[rank]);
      Decode({incoming_.data() + start, length}, shard, Within(drawn_, shard),
             std::min(k_ - host_.count(), shard.size()), static_cast<int>(rank), host_);
      start += length;
    }
    Upload(host_, received_);
  }

  void CheckLength(size_t rank, int64_t length) const {
    const Range& shard = context_.shards[static_cast<int>(rank)];
    const int64_t most =
        MaxSparseBytes(std::min(k_, shard.size()), shard, format_, context_.type());
    if (length >= 0 && length <= most) return;
    throw Error(fmt::format("step {}: rank {} announces a message of {} bytes, where {} are the "
                            "most",
                            context_.step, rank, length, most),
                "the checkpoints are intact; look at that rank's build and settings");
  }

  const std::vector<Range> own_ranges_;
  SparseVector chosen_;    // of this rank's shard
  SparseVector received_;  // of the whole vector
  std::unique_ptr<TopK> top_k_;
  std::vector<int32_t> drawn_;
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
