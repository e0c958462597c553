// The servers' Top-K message in device memory, of which each sends its shard's part.
#include <numeric>
#include <optional>

#include "optim/choosing_links.h"
#include "optim/device_sparse_link.h"
#include "optim/sharded_top_k.h"

namespace thinwire {
namespace {

class DeviceSparseDownlink : public ChoosingDownlink, private DeviceSparseLink {
 public:
  DeviceSparseDownlink(const LinkContext& context, const LinkTensors& tensors)
      : ChoosingDownlink(context),
        DeviceSparseLink(context, tensors),
        message_(device(), k_, context.type()),
        counts_(static_cast<size_t>(ranks())) {
    message_.count = k_;
    if (most() > 0) {
      top_k_ = device().MakeTopK(
          {.size = own_shard().size(), .ranges = own_ranges_, .k = most(), .type = context.type()});
    }
    if (has_one_server()) {
      counts_[0] = k_;
      return;
    }
    candidates_.emplace(device(), most(), context.type());
    candidates_->count = most();
    sharded_top_k_.emplace(TopKShareShape{.size = most(), .k = k_, .type = context.type()},
                           device(), context.communicator);
  }

  void Receive(View y, const RangeWork& then) override {
    {
      PhaseTimer timer(context_.costs.decode);
      for (const Range& range : tensors_.ranges) device().Zero(Slice(y, range));
      message_.AddTo(1, y);
    }
    if (then) then({0, y.size});
  }

  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    {
      PhaseTimer timer(context_.costs.decode);
      message_.AddTo(factor, y);
    }
    if (then) then({0, y.size});
  }

 private:
  using DeviceSparseLink::context_;

  void Choose(ConstView v, ConstView state, int state_factor) override {
    PhaseTimer timer(context_.costs.compress);
    if (has_one_server()) {
      if (top_k_) SelectInShard(v, state, state_factor, message_);
      return;
    }
    SelectInShard(v, state, state_factor, *candidates_);
    const int64_t own_count = sharded_top_k_->Agree(candidates_->values());
    context_.checks.Read();  // before it sends what the others would complain of
    counts_ = context_.communicator.AllGatherHost(own_count);
    CheckCounts();
    const SparsePart own = OwnPart();
    sharded_top_k_->Choose(candidates_->indices(), candidates_->values(), own_shard().begin,
                           own.indices, own.values);
  }

  void SelectInShard(ConstView v, ConstView state, int state_factor, const SparseVector& selected) {
    if (top_k_) {
      top_k_->Select({.values = v}, state, state_factor, selected.indices(), selected.values());
    }
    CheckOwn(selected.values());
  }

  void CheckCounts() const {
    int64_t left = k_;
    for (const int64_t count : counts_) left -= count >= 0 && count <= left ? count : k_ + 1;
    if (left == 0) return;
    throw Error(fmt::format("step {}: the servers' parts of the message, {} elements, are not the "
                            "{} of a message",
                            context_.step, fmt::join(counts_, " + "), k_),
                "the checkpoints are intact; look at the ranks' builds and memory");
  }

  /// This rank's part of the message.
  SparsePart OwnPart() const {
    const auto own = counts_.begin() + rank();
    return PartOf(message_, std::accumulate(counts_.begin(), own, int64_t{0}), *own);
  }

  void AddChosen(double factor, View y) override {
    if (y.size > 0) Add(OwnPart(), factor, y, own_shard().begin);
  }

  void Exchange() override {
    context_.costs.paper_bits_down += paper_bits();
    context_.costs.coded_bits_down += coded_bits();
    if (is_alone()) return;
    PhaseTimer timer(context_.costs.wire);
    Communicator& communicator = context_.communicator;
    const SparsePart own = OwnPart();
    if (has_one_server()) {
      communicator.Broadcast(message_.values(), 0, Purpose::kDownlink);
      communicator.Broadcast(message_.indices(), 0, Purpose::kDownlink);
    } else {
      communicator.AllGather(own.values, message_.values(), counts_, Purpose::kDownlink);
      communicator.AllGather(own.indices, message_.indices(), counts_, Purpose::kDownlink);
    }
    int64_t begin = 0;
    for (int r = 0; r < ranks(); ++r) {
      const int64_t count = counts_[static_cast<size_t>(r)];
      if (r != rank()) CheckReceived(PartOf(message_, begin, count), r, context_.shards[r]);
      begin += count;
    }
  }

  std::unique_ptr<TopK> top_k_;             // of this rank's shard, if it has one
  SparseVector message_;                    // everyone's parts, by rank
  std::vector<int64_t> counts_;             // their elements
  std::optional<SparseVector> candidates_;  // of the shard, for what all ranks choose together
  std::optional<ShardedTopK> sharded_top_k_;
};

}  // namespace

std::unique_ptr<Downlink> MakeDeviceSparseDownlink(const LinkContext& context,
                                                   const LinkTensors& tensors) {
  return std::make_unique<DeviceSparseDownlink>(context, tensors);
}

}  // namespace thinwire
