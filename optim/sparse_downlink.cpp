// A server's sparse messages, in slices, and their way into every rank's vectors.
#include <memory>
#include <optional>

#include "optim/choosing_links.h"
#include "optim/sharded_top_k.h"
#include "optim/sparse_link.h"

namespace thinwire {
namespace {

class SparseDownlink : public ChoosingDownlink, private SparseLink {
 public:
  SparseDownlink(const LinkContext& context, const LinkTensors& tensors, bool random)
      : ChoosingDownlink(context),
        SparseLink(context, tensors, random),
        own_ranges_(RangesWithin(tensors, context.own_shard())),
        chosen_(context.device(), std::min(k_, ElementsOf(own_ranges_)), context.type()),
        received_(context.device(), k_, context.type()) {
    const int64_t most = chosen_.capacity();
    if (!random && most > 0) {
      top_k_ = device().MakeTopK(
          {.size = own_shard().size(), .ranges = own_ranges_, .k = most, .type = context.type()});
    }
    if (!random && context.communicator.size() > 1) {
      candidates_.emplace(context.device(), most, context.type());
      sharded_top_k_.emplace(TopKShareShape{.size = most, .k = k_, .type = context.type()},
                             context.device(), context.communicator);
    }
    for (int rank = 0; rank < context.communicator.size(); ++rank) {
      const std::vector<Range> ranges = SlicesOf(context.shards[rank]);
      for (const Range& range : ranges) slices_.push_back({.range = range, .rank = rank});
      length_bytes_.push_back(std::ssize(ranges) * SizeOf(DataType::kInt32));
    }
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
  void Choose(ConstView v, ConstView state, int state_factor) override {
    PhaseTimer timer(context_.costs.compress);
    if (random_) {
      Draw(0, Direction::kDown, drawn_);
      host_.SetIndices(Within(drawn_, own_shard()));
      host_.MoveIndices(-own_shard().begin);
      chosen_.count = host_.count();
      device().CopyFromHost(host_.indices().data, chosen_.indices());
      device().Gather({.values = v}, state, state_factor, chosen_.indices(), chosen_.values());
      CheckFinite(chosen_);
    } else if (!candidates_) {
      SelectInShard({.values = v}, state, state_factor, chosen_);
    } else {
      SelectInShard({.values = v}, state, state_factor, *candidates_);
      chosen_.count = sharded_top_k_->Agree(candidates_->values());
      sharded_top_k_->Choose(candidates_->indices(), candidates_->values(), 0, chosen_.indices(),
                             chosen_.values());
    }
    Round(chosen_);
  }

  void SelectInShard(const CompressionInput& v, ConstView state, int state_factor,
                     SparseVector& selected) {
    selected.count = selected.capacity();
    if (top_k_) top_k_->Select(v, state, state_factor, selected.indices(), selected.values());
    CheckFinite(selected);
  }

  void AddChosen(double factor, View y) override { chosen_.AddTo(factor, y); }

  void Exchange() override {  // when it is asked for
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
      ReceiveMessages(
          [&](std::span<const int64_t> arrived) { return DecodeArrived(arrived, apply, then); });
    }
    for (size_t first = 0, last = 0; first < slices_.size(); first = last) {
      last = first + 1;
      if (slices_[first].decoded) continue;
      while (last < slices_.size() && !slices_[last].decoded) ++last;
      DecodeSlices(first, last, apply, then);
    }
  }

  void ReceiveMessages(const ArrivalWork& work) {
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
  std::optional<SparseVector> candidates_;  // for what all ranks choose together
  std::optional<ShardedTopK> sharded_top_k_;
  std::vector<int32_t> drawn_;
  std::vector<SparseSlice> slices_;    // of all ranks' messages, rising
  std::vector<int64_t> length_bytes_;  // of each rank, for the lengths of its slices
  std::vector<int32_t> lengths_;       // of this rank's
  bool sent_ = true;
  int64_t decoded_ = 0;  // elements, so far
};

}  // namespace

std::unique_ptr<Downlink> MakeSparseDownlink(const LinkContext& context, const LinkTensors& tensors,
                                             bool random) {
  return std::make_unique<SparseDownlink>(context, tensors, random);
}

}  // namespace thinwire
